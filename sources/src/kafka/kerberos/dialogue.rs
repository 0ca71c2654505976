//! The dialogue of a login by Kerberos over a new connection: a ticket is shown, the broker proves itself in return, and both agree on
//! no further layer. It decides nothing about tickets.

use std::time::Duration;

use jiff::Timestamp;
use windlass_decision::FailureKind;

use super::super::config::{Connection, Endpoint};
use super::super::link::Link;
use super::super::outcome::Problem;
use super::gss::{Broken, Context};
use super::messages::Principal;
use super::problem;
use super::tickets::{Ticket, Tickets};

impl Link {
    /// Logs in to the broker `at` with its ticket, which may be waited for so long.
    pub(in super::super) async fn by_ticket(
        &mut self,
        connection: &Connection,
        at: &Endpoint,
        tickets: &Tickets,
        time: Duration,
    ) -> Result<(), Problem> {
        // Names of hosts have no case, and those of principals have the lower one.
        let host = at.host.trim_end_matches('.').to_ascii_lowercase();
        let (ticket, is_new) = tickets.for_host(&host, time).await?;
        let shown = self.show(connection, at, (&ticket, &tickets.service(&host)), tickets.now()).await;
        match shown {
            Err(mut problem) if problem.kind == FailureKind::Unauthorised => {
                // The broker may have another key by now, which a new ticket would be sealed with.
                tickets.forget(&host).await;
                problem.worth_another = !is_new;
                Err(problem)
            }
            other => other,
        }
    }

    async fn show(
        &mut self,
        connection: &Connection,
        at: &Endpoint,
        (ticket, service): (&Ticket, &Principal),
        now: Timestamp,
    ) -> Result<(), Problem> {
        let broken = |broken| match broken {
            Broken::Malformed => Problem::stranger(connection, at),
            Broken::Unproved => problem::unproved(service, at),
            Broken::WantsLayer => problem::wants_layer(at),
            Broken::Refused(refusal) => Problem::credentials(connection, at, &problem::said(&refusal, now)),
        };
        let (mut context, token) = Context::begin(ticket, now).map_err(|error| broken(error.into()))?;
        let proof = self.token(connection, at, &token).await?;
        context.judge(&proof).map_err(broken)?;
        let offered = self.token(connection, at, &[]).await?;
        let agreed = context.agree(&offered).map_err(broken)?;
        self.token(connection, at, &agreed).await?;
        Ok(())
    }
}
