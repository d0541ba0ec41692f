//! Tier instances of every balancer under any sequence of inputs.

use proptest::prelude::*;

use crate::exercise::exercise;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_panics_or_sends_a_fresh_request_to_a_server_that_is_out(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        prop_assert_eq!(exercise(&bytes), exercise(&bytes));
    }
}
