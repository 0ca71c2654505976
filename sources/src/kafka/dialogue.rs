//! The dialogue of a login over a new connection (SASL, as Kafka carries it: `SaslHandshake`, then `SaslAuthenticate`). It makes no
//! token itself, and asks a broker for nothing else.

use std::time::Duration;

use windlass_decision::FailureKind;

use super::bearer::{self, Shown, Wallet};
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
        let (header, shown, extensions) = match login {
            Login::Password(password) => return self.by_password(connection, at, password).await,
            Login::Bearer(Bearer { oauth, extensions }) => {
                let header = wallet.handed_out(oauth, time).await?;
                (header.clone(), Shown::Token(header), &extensions[..])
            }
            Login::Kerberos(login) => return self.by_ticket(connection, at, wallet.tickets(login), time).await,
            Login::Iam(iam) if !iam.may_go_to(&at.host) => return Err(Problem::not_of_aws(at, &iam.region)),
            Login::Iam(iam) => {
                let (header, credentials) = wallet.signed(iam, time).await?;
                (header, Shown::Signature(credentials), &[][..])
            }
        };
        match self.by_token(connection, at, &bearer::first(&header, extensions)).await {
            Ok(()) => {
                self.shown = Some(shown);
                Ok(())
            }
            Err(mut problem) if problem.kind == FailureKind::Unauthorised => {
                // It may have been revoked.
                problem.worth_another = wallet.refused(&shown);
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
        match self.token(connection, at, bearer::UNDERSTOOD).await {
            Err(problem) if problem.kind == FailureKind::Unauthorised => Err(problem),
            _ => Err(Problem::credentials(connection, at, discreet(&String::from_utf8_lossy(&why), first))),
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
    pub(super) async fn token(
        &mut self,
        connection: &Connection,
        at: &Endpoint,
        token: &[u8],
    ) -> Result<Vec<u8>, Problem> {
        let broken = |broken: Broken| broken.problem(connection, at);
        let answer = self.exchange_one(messages::sasl_authenticate(token)).await.map_err(broken)?;
        let answer = messages::read_sasl_authenticate(&answer).map_err(|malformed| broken(malformed.into()))?;
        answer.map_err(|(_, said)| Problem::credentials(connection, at, discreet(&said, token)))
    }
}

/// What a broker says, unless it repeats a part of the token that it was shown.
fn discreet<'a>(said: &'a str, token: &[u8]) -> &'a str {
    let shown = String::from_utf8_lossy(token);
    let mut parts = shown.split(['\0', '\u{1}', ' ', ',', '=']).filter(|part| part.len() > 3 && *part != "Bearer");
    if parts.any(|part| said.contains(part)) { "" } else { said }
}

#[cfg(test)]
mod tests {
    use super::discreet;

    #[test]
    fn a_broker_that_repeats_a_token_is_not_repeated() {
        for (token, said) in
            [("\0me\0pencil", "wrong password pencil"), ("n,,\u{1}auth=Bearer eyJ0.x\u{1}\u{1}", "no eyJ0.x here")]
        {
            assert_eq!(discreet(said, token.as_bytes()), "", "{said}");
        }
        let said = "Bearer tokens are not taken by this broker";
        assert_eq!(discreet(said, b"n,,\x01auth=Bearer eyJ0.x\x01\x01"), said);
    }
}
