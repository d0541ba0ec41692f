//! Clients that keep account of how often they try again, and do so no more when that is too often.
//!
//! - `retryThrottling` of gRPC (proposal A6; `retry_throttle.cc`): a client has tokens, loses one with each failure, gets a part of
//!   one back with each answer, and tries again while it has more than half of them.
//! - the per-client budget of Google's SRE book (chapter 21, "Handling Overload"): a client tries again while fewer than a share of
//!   its requests, 10 % there, were further tries.

use crate::ids::ClientId;
use crate::scenario::ClientBudget;
use crate::table::Column;

/// A token, in the units in which they are counted, which are gRPC's.
const TOKEN: f64 = 1_000.0;

/// What a client has counted.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Tokens that are missing \[1/1000\], or requests that ended.
    spent: u32,
    /// Further tries.
    tries: u32,
}

/// The accounts of all clients; empty if none keeps any.
#[derive(Debug)]
pub(super) struct ClientBudgets {
    accounts: Column<ClientId, Account>,
}

impl ClientBudgets {
    /// Accounts of so many clients, if any of them `keeps` one.
    pub fn new(clients: usize, keeps: bool) -> Self {
        Self { accounts: Column::filled(Account::default(), if keeps { clients } else { 0 }) }
    }

    /// A client got an answer.
    pub fn answered(&mut self, id: ClientId, budget: &ClientBudget) {
        let account = &mut self.accounts[id];
        account.spent = match *budget {
            ClientBudget::Tokens { token_ratio, .. } => {
                account.spent.saturating_sub((token_ratio * TOKEN) as u32)
            }
            ClientBudget::Share(_) => account.spent.saturating_add(1),
        };
    }

    /// A client's request failed. Returns whether it may try again.
    pub fn failed(&mut self, id: ClientId, budget: &ClientBudget) -> bool {
        let account = &mut self.accounts[id];
        match *budget {
            ClientBudget::Tokens { max_tokens, .. } => {
                let all = (max_tokens * TOKEN) as u32;
                account.spent = account.spent.saturating_add(TOKEN as u32).min(all);
                all - account.spent > all / 2
            }
            ClientBudget::Share(share) => {
                account.spent = account.spent.saturating_add(1);
                f64::from(account.tries) < share * f64::from(account.spent)
            }
        }
    }

    /// A client tries again.
    pub fn tries_again(&mut self, id: ClientId) {
        let account = &mut self.accounts[id];
        account.tries = account.tries.saturating_add(1);
    }

    /// Bytes that the accounts occupy.
    pub fn bytes(&self) -> usize {
        self.accounts.len() * size_of::<Account>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = ClientId(0);

    #[test]
    fn a_client_with_half_of_its_tokens_tries_no_more_until_answers_have_given_it_some_back() {
        // Four tokens, 1.6 back: the example of gRPC's own test.
        let budget = ClientBudget::Tokens { max_tokens: 4.0, token_ratio: 1.6 };
        let mut budgets = ClientBudgets::new(1, true);
        assert!(budgets.failed(CLIENT, &budget), "3 are left");
        budgets.answered(CLIENT, &budget);
        assert!(budgets.failed(CLIENT, &budget), "4 are most, so 3 again");
        assert!(!budgets.failed(CLIENT, &budget), "2 are half");
        assert!(!budgets.failed(CLIENT, &budget) && !budgets.failed(CLIENT, &budget), "none");
        budgets.answered(CLIENT, &budget);
        assert!(!budgets.failed(CLIENT, &budget), "0.6");
        budgets.answered(CLIENT, &budget);
        budgets.answered(CLIENT, &budget);
        assert!(budgets.failed(CLIENT, &budget), "2.8");
    }

    #[test]
    fn a_client_tries_again_while_few_of_its_requests_were_further_tries() {
        let budget = ClientBudget::Share(0.1);
        let mut budgets = ClientBudgets::new(1, true);
        let mut again = 0;
        for _ in 0..100 {
            if budgets.failed(CLIENT, &budget) {
                budgets.tries_again(CLIENT);
                again += 1;
            }
        }
        assert_eq!(again, 10);
        // Ninety-nine answers later there is room for ten more.
        (0..99).for_each(|_| budgets.answered(CLIENT, &budget));
        assert!(budgets.failed(CLIENT, &budget));
    }
}
