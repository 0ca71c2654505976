//! The dialogue of a login over a new connection (SASL, as Kafka carries it: `SaslHandshake`, then `SaslAuthenticate`). It makes no
//! token itself, and asks a broker for nothing else.

use std::time::Duration;

use windlass_decision::FailureKind;

use super::bearer::{self, Wallet};
use super::config::{Connection, Endpoint};
use super::link::{Broken, Link};
use super::login::{Bearer, Login, Mechanism, Password};
use super::messages;
use super::outcome::Problem;
use super::sasl::{self, Scram};

impl Link {
    /// Proves who we are. `time` is how long a token may be waited for.
    pub(super) async fn log_in(
        &mut self,
        connection: &Connection,
        at: &Endpoint,
        login: &Login,
        (wallet, time): (&Wallet, Duration),
    ) -> Result<(), Problem> {
        let broken = |broken: Broken| broken.problem(connection, at);
        let answer = self.exchange_one(messages::sasl_handshake(login.mechanism())).await.map_err(broken)?;
        messages::read_sasl_handshake(&answer)
            .map_err(|malformed| broken(malformed.into()))?
            .map_err(|(code, known)| Problem::mechanism(connection, at, code, &known))?;
        let (header, is_new, extensions) = match login {
            Login::Password(password) => return self.by_password(connection, at, password).await,
            Login::Bearer(Bearer { oauth, extensions }) => {
                let (header, is_new) = wallet.handed_out(oauth, time).await?;
                (header, is_new, &extensions[..])
            }
            Login::Iam(iam) if !iam.may_go_to(&at.host) => return Err(Problem::not_of_aws(at, &iam.region)),
            Login::Iam(iam) => {
                let (header, is_new) = wallet.signed(iam, time).await?;
                (header, is_new, &[][..])
            }
        };
        match self.by_token(connection, at, &bearer::first(&header, extensions)).await {
            Ok(()) => {
                self.old_token = Some(header).filter(|_| !is_new);
                Ok(())
            }
            Err(mut problem) if problem.kind == FailureKind::Unauthorised => {
                // It is not used again. One that was good before may have been revoked: a new one may be taken.
                wallet.refused(&header).await;
                problem.of_old_token = !is_new;
                Err(problem)
            }
            Err(problem) => Err(problem),
        }
    }

    async fn by_token(&mut self, connection: &Connection, at: &Endpoint, first: &[u8]) -> Result<(), Problem> {
        let why = self.token(connection, at, first).await?;
        if why.is_empty() {
            return Ok(());
        }
        // The broker says why not, and then that the login has failed.
        self.token(connection, at, bearer::UNDERSTOOD).await?;
        Err(Problem::credentials(connection, at, &String::from_utf8_lossy(&why)))
    }

    async fn by_password(&mut self, connection: &Connection, at: &Endpoint, login: &Password) -> Result<(), Problem> {
        if login.mechanism == Mechanism::Plain {
            self.token(connection, at, &sasl::plain(login)).await?;
            return Ok(());
        }
        let stranger = || Problem::stranger(connection, at);
        let scram = Scram::new(login).ok_or_else(stranger)?;
        let server_first = self.token(connection, at, &scram.first()).await?;
        let (second, signature) = scram.second(&server_first).ok_or_else(stranger)?;
        let server_final = self.token(connection, at, &second).await?;
        if !signature.is_proved_by(&server_final) {
            return Err(Problem::credentials(connection, at, "the broker does not know the password itself"));
        }
        Ok(())
    }

    /// One token, and the one that the broker answers.
    async fn token(&mut self, connection: &Connection, at: &Endpoint, token: &[u8]) -> Result<Vec<u8>, Problem> {
        let broken = |broken: Broken| broken.problem(connection, at);
        let answer = self.exchange_one(messages::sasl_authenticate(token)).await.map_err(broken)?;
        let answer = messages::read_sasl_authenticate(&answer).map_err(|malformed| broken(malformed.into()))?;
        answer.map_err(|(_, said)| Problem::credentials(connection, at, &said))
    }
}
