//! The dialogue of a login over a new connection (SASL, as Kafka carries it: `SaslHandshake`, then `SaslAuthenticate`). It decides
//! nothing about tokens, and asks a broker for nothing else.

use super::config::{Connection, Endpoint};
use super::link::{Broken, Link};
use super::login::{Login, Mechanism, Password};
use super::messages;
use super::outcome::Problem;
use super::sasl::{self, Scram};

impl Link {
    /// Proves who we are.
    pub(super) async fn log_in(
        &mut self,
        connection: &Connection,
        at: &Endpoint,
        login: &Login,
    ) -> Result<(), Problem> {
        let broken = |broken: Broken| broken.problem(connection, at);
        let answer = self.exchange_one(messages::sasl_handshake(login.mechanism())).await.map_err(broken)?;
        messages::read_sasl_handshake(&answer)
            .map_err(|malformed| broken(malformed.into()))?
            .map_err(|(code, known)| Problem::mechanism(connection, at, code, &known))?;
        match login {
            Login::Password(password) => self.by_password(connection, at, password).await,
        }
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
