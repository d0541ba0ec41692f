//! `session_sticky`: Tengine's affinity by cookie, with round robin for those who have none.
//!
//! Tengine, `modules/ngx_http_upstream_session_sticky_module` (commit 32307cde8c02, `ngx_http_session_sticky_get_cookie`,
//! `ngx_http_upstream_session_sticky_get_peer`, `ngx_http_session_sticky_header_filter`). Its rules differ from those of nginx's
//! own `sticky cookie`:
//! - the first try goes to the server that the cookie names, even if that is `down` or counts as failed, since only
//!   Tengine's active checks, which are not modelled, keep it away. The try is not remembered, so round robin may choose the
//!   server once more if failures do not take it out;
//! - with `fallback=off` every try goes there, and a cookie that names nobody is a 502;
//! - `mode=insert`: the cookie is set when it did not decide, or, with `maxidle` or `maxlife`, by every answer. Then it
//!   holds the times that these limit; `maxage` counts only without them;
//! - `mode=prefix`, `mode=rewrite`: the server's name goes into a cookie of the application's, whenever the application sets that,
//!   and lives as long.
//!
//! Departures: the application sets its cookie with its first answer to a browser, and never again; a draining server is
//! followed as one that is `down`; `hash` changes only what the cookie looks like.

use super::round_robin::RoundRobin;
use super::{Peers, RequestState};
use crate::balancer::{Balancer, CookieLife, OptionVisitor, Reason, Skipped};
use crate::engine::SimDuration;
use crate::ids::ServerId;

/// `mode`.
const MODES: &[&str] = &["insert", "prefix", "rewrite"];
/// The place of `insert` among them.
const INSERT: usize = 0;
/// `hash`.
const HASHES: &[&str] = &["md5", "plain"];

/// The server that the cookie names, else round robin.
///
/// Reasons: [`Reason::Affinity`] when the cookie decided; else round robin's, or that the cookie could not be followed.
#[derive(Clone, Debug)]
pub struct SessionSticky {
    /// Place in [`MODES`].
    mode: usize,
    /// Place in [`HASHES`].
    hash: usize,
    /// Whether another server may be tried after the one that the cookie names.
    fallback: bool,
    max_age: Option<SimDuration>,
    max_idle: Option<SimDuration>,
    max_life: Option<SimDuration>,
}

impl Default for SessionSticky {
    /// The directive without parameters.
    fn default() -> Self {
        Self { mode: INSERT, hash: 0, fallback: true, max_age: None, max_idle: None, max_life: None }
    }
}

impl SessionSticky {
    /// Whether the cookie holds the times at which it was set.
    fn holds_times(&self) -> bool {
        self.mode == INSERT && (self.max_idle.is_some() || self.max_life.is_some())
    }

    /// How long its cookies are good.
    pub fn cookies(&self) -> CookieLife {
        if self.mode != INSERT {
            CookieLife::UNLIMITED
        } else if self.holds_times() {
            CookieLife { idle: self.max_idle, total: self.max_life }
        } else {
            CookieLife { idle: self.max_age, total: None }
        }
    }

    /// Whether the answer to the try under way sets a cookie.
    pub fn sets_cookie(&self, request: &RequestState) -> bool {
        if self.mode == INSERT {
            request.reason() != Reason::Affinity || self.holds_times()
        } else {
            !matches!(request.reason(), Reason::Affinity | Reason::AffinityUnusable(_))
        }
    }
}

impl Balancer for SessionSticky {
    type Servers = Peers;
    type Request = RequestState;

    fn pick(&mut self, peers: &mut Peers, request: &mut RequestState) -> Option<ServerId> {
        let Some(named) = request.hint else { return RoundRobin {}.pick(peers, request) };
        if !self.fallback || request.hashes == 0 {
            // Counts the tries by the cookie, since nothing is hashed.
            request.hashes += 1;
            if let Some(server) = peers.take_named(named, request) {
                request.reason = Reason::Affinity;
                return Some(server);
            }
        }
        if !self.fallback {
            request.reason = Reason::NoneUsable;
            return None;
        }
        request.hint = None;
        request.unfollowed = Some(Skipped::Tried);
        RoundRobin {}.pick(peers, request)
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        let shortest = SimDuration::from_secs(1);
        visitor.word("mode", &mut self.mode, MODES);
        visitor.word("hash", &mut self.hash, HASHES);
        visitor.flag("fallback", &mut self.fallback);
        visitor.limit("maxage", &mut self.max_age, shortest);
        visitor.limit("maxidle", &mut self.max_idle, shortest);
        visitor.limit("maxlife", &mut self.max_life, shortest);
    }
}
