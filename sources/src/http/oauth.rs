//! OAuth 2.0 by client credentials (RFC 6749, section 4.4): what a trigger says of it, and the tokens that it gives. A token is
//! asked for where none is known that is good, under the same network policy as everything; it is never printed.

use url::Url;
use url::form_urlencoded::{Serializer, parse as parse_form};

use super::tls::Tls;
use super::{Endpoint, url};
use crate::{Metadata, Secret};

/// Whom to ask for a token, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OAuth {
    /// Where the server listens.
    pub endpoint: Endpoint,
    /// Path and query string of its URL. The latter may hold a key.
    pub target: Secret,
    /// Whom it trusts, without a client certificate.
    pub tls: Tls,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What the token is to be good for.
    pub scopes: Vec<String>,
    /// Further parameters of the request.
    pub parameters: Vec<(String, Secret)>,
    /// What all this is called in the trigger.
    pub names: &'static Names,
}

/// What the keys of a source are called that say where tokens come from.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Names {
    /// The key of the token server's URL, and that as a field.
    pub uri: (&'static str, &'static str),
    /// The key of the client's name, and that as a field.
    pub id: (&'static str, &'static str),
    /// The key of its secret.
    pub secret: &'static str,
    /// All that may be wrong where a server gives no token.
    pub all: &'static str,
}

/// As in the sources that read over HTTP.
static NAMES: Names = Names {
    uri: ("oauthTokenURI", "metadata.oauthTokenURI"),
    id: ("clientID", "metadata.clientID"),
    secret: "clientSecret",
    all: "clientID, clientSecret, scopes and endpointParams",
};

/// The keys of the mode.
pub(crate) const KEYS: [&str; 6] = ["oauthTokenURI", "clientID", "clientSecret", "scopes", "scope", "endpointParams"];
const TOKEN_URI: &str = "write the URL of the token endpoint, for example https://login.example.com/oauth2/token";

/// Reads the keys of the mode; `tls` is what the trigger says about certificates.
pub(crate) fn parse(metadata: &mut Metadata<'_>, tls: &Tls) -> Option<OAuth> {
    let (scopes, scope) = (metadata.optional(KEYS[3]), metadata.optional(KEYS[4]));
    let written = metadata.optional(KEYS[5]).unwrap_or_default();
    let sound = written.split('&').all(|pair| pair.is_empty() || pair.contains('='));
    if !sound {
        metadata.error(KEYS[5], "has a part that is not name=value", "write name=value, several of them with &");
    }
    let parameters: Vec<_> =
        parse_form(written.as_bytes()).map(|(name, value)| (name.into_owned(), Secret::new(value))).collect();
    // As in Go's oauth2: grant_type may be another one, for servers that have names of their own.
    if parameters.iter().any(|(name, _)| ["client_id", "client_secret", "scope"].contains(&name.as_str())) {
        let fix = "remove it, and write clientID, clientSecret and scopes";
        metadata.error(KEYS[5], "sets client_id, client_secret or scope", fix);
    }
    let oauth = by_names(metadata, tls, &NAMES, scopes.or(scope));
    oauth.filter(|_| sound).map(|oauth| OAuth { parameters, ..oauth })
}

/// Reads the server, the client and its secret from the keys of these names; of `tls` only the authorities count, and `scopes` stand
/// with commas or spaces.
pub(crate) fn by_names(
    metadata: &mut Metadata<'_>,
    tls: &Tls,
    names: &'static Names,
    scopes: Option<&str>,
) -> Option<OAuth> {
    let found = url(metadata, names.uri.0, TOKEN_URI);
    let credential = "give it, best by an authenticationRef";
    let (id, secret) = (metadata.required(names.id.0, credential), metadata.required(names.secret, credential));
    let scopes = scopes.unwrap_or_default().split([',', ' ']).map(str::trim).filter(|scope| !scope.is_empty());
    let (url, endpoint) = found?;
    let target = target(&url);
    // Whoever may be trusted unverified, the client's secret goes to nobody unverified.
    let tls = if endpoint.tls { Tls { ca: tls.ca.clone(), ..Tls::default() } } else { Tls::default() };
    Some(OAuth {
        endpoint,
        target: Secret::new(target),
        tls,
        client_id: id?.to_owned(),
        client_secret: Secret::new(secret?),
        scopes: scopes.map(str::to_owned).collect(),
        parameters: Vec::new(),
        names,
    })
}

fn target(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

impl OAuth {
    /// The body of the request. `with_client`: whether it says as whom, too.
    #[cfg_attr(not(feature = "connect"), allow(dead_code, reason = "only a connector asks"))]
    fn form(&self, with_client: bool) -> String {
        let mut form = Serializer::new(String::new());
        if !self.parameters.iter().any(|(name, _)| name == "grant_type") {
            form.append_pair("grant_type", "client_credentials");
        }
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes.join(" "));
        }
        form.extend_pairs(self.parameters.iter().map(|(name, value)| (name, value.expose())));
        if with_client {
            form.append_pair("client_id", &self.client_id).append_pair("client_secret", self.client_secret.expose());
        }
        form.finish()
    }
}

#[cfg(feature = "connect")]
pub(crate) use asking::{Tokens, ask_as};

#[cfg(feature = "connect")]
mod asking {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures::FutureExt;
    use reqwest::StatusCode;
    use serde_json::Value;
    use url::Url;
    use url::form_urlencoded::byte_serialize;
    use windlass_decision::FailureKind;

    use super::{Names, OAuth};
    use crate::Secret;
    use crate::http::{Auth, Client, Endpoint, NetworkPolicy, NoFigure, Problem, Request, Site, Trouble};
    use crate::token::{PATIENCE, Token};

    /// Servers answer with some hundred bytes, or some thousand.
    const MAX_BYTES: usize = 256 << 10;
    /// How long a token is used of which its server does not say how long it is good.
    const UNKNOWN: Duration = Duration::from_secs(600);
    /// A token is renewed this long before it runs out, or after nine tenths of its life where that is later.
    const MARGIN: Duration = Duration::from_secs(10);

    /// The token of one upstream.
    #[derive(Debug, Default)]
    pub(crate) struct Tokens {
        header: Token<Secret, NoFigure>,
        /// The server takes the client's secret in the body, and not as a header.
        in_body: Arc<AtomicBool>,
    }

    /// Sends `request` as whom `auth` says. With OAuth, a token is the header `Authorization`, and a new one is asked for where
    /// the server refuses one from an earlier request.
    pub(crate) async fn ask_as(
        (auth, tokens): (&Auth, &Tokens),
        (client, network): (&Client, &NetworkPolicy),
        request: &Request<'_>,
        trouble: impl Fn(Trouble) -> NoFigure,
    ) -> Result<(StatusCode, Vec<u8>), NoFigure> {
        let time = request.time;
        let send = async |token: Option<Secret>| {
            let own = auth.headers.iter().map(|(name, value)| (name.as_str(), value));
            let headers = request.headers.iter().copied().chain(own);
            let request = Request {
                url: request.url.clone(),
                basic: auth.basic.as_ref().map(|(user, password)| (user.as_str(), Some(password))),
                headers: headers.chain(token.iter().map(|token| ("authorization", token))).collect(),
                time,
                limit: request.limit,
            };
            client.get(request).await.map_err(&trouble)
        };
        let Some(oauth) = &auth.oauth else { return send(None).await };
        // Half of the time, so that whoever hands out tokens is told apart from whoever takes them.
        let header = tokens.header(oauth, network, time / 2).await?;
        let answer = send(Some(header.clone())).await?;
        if answer.0 != StatusCode::UNAUTHORIZED || !tokens.refused(&header) {
            return Ok(answer);
        }
        send(Some(tokens.header(oauth, network, time / 2).await?)).await
    }

    impl Tokens {
        /// A header with a token that is good, within `time`.
        pub(crate) async fn header(
            &self,
            oauth: &OAuth,
            network: &NetworkPolicy,
            time: Duration,
        ) -> Result<Secret, NoFigure> {
            let (whom, network, in_body) = (oauth.clone(), network.clone(), Arc::clone(&self.in_body));
            let ask = || async move { Ok(whom.ask(&network, &in_body).await?) }.boxed();
            let (endpoint, field) = (oauth.endpoint.clone(), oauth.names.uri.1);
            let late = move || {
                let message =
                    format!("the token server at {endpoint} did not answer in time; check its load and the network");
                NoFigure::Failed(Problem::new(FailureKind::Timeout, field, message))
            };
            self.header.get(time, ask, late).await
        }

        /// The header was not taken. Says whether another one may be had.
        pub(crate) fn refused(&self, header: &Secret) -> bool {
            self.header.refused(header)
        }
    }

    impl OAuth {
        /// A header with a new token, and how long it is to be used.
        async fn ask(&self, network: &NetworkPolicy, in_body: &AtomicBool) -> Result<(Secret, Duration), Problem> {
            let site = Site { what: "the token server", place: &self.endpoint, field: self.names.uri.1 };
            let first = in_body.load(Ordering::Relaxed);
            let mut answer = self.post(network, first).await.map_err(|found| site.trouble(found))?;
            let is_refused = |status| matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
            if is_refused(answer.0) {
                // Servers may know one way only, and none says which.
                let other = self.post(network, !first).await.map_err(|found| site.trouble(found))?;
                if other.0.is_success() {
                    in_body.store(!first, Ordering::Relaxed);
                    answer = other;
                }
            }
            let (status, body) = answer;
            if status.is_success() {
                return taken(&body, &site);
            }
            if is_refused(status) || status == StatusCode::FORBIDDEN {
                let Names { id, all, .. } = self.names;
                let message = format!("the token server at {} gives no token; check {all}", self.endpoint);
                return Err(Problem::new(FailureKind::Unauthorised, id.1, message));
            }
            // That it is not there says nothing about the figure.
            match site.status(status, true) {
                NoFigure::Failed(problem) | NoFigure::Absent(problem) => Err(problem),
            }
        }

        async fn post(&self, network: &NetworkPolicy, in_body: bool) -> Result<(StatusCode, Vec<u8>), Trouble> {
            let client = network.client(&self.endpoint, &self.tls)?;
            let url = format!("{}{}", self.endpoint.base(), self.target.expose());
            let url = Url::parse(&url).map_err(|_| Trouble::Unusable)?;
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let (id, secret) = (encoded(&self.client_id), Secret::new(encoded(self.client_secret.expose())));
            let basic = (!in_body).then_some((id.as_str(), Some(&secret)));
            let request = Request { url, basic, headers: Vec::new(), time: PATIENCE, limit: MAX_BYTES };
            client.post_form(request, self.form(in_body)).await
        }
    }

    /// What an answer gives (RFC 6749, section 5.1).
    fn taken(body: &[u8], site: &Site<&Endpoint>) -> Result<(Secret, Duration), Problem> {
        let answer: Value = serde_json::from_slice(body).map_err(|_| site.bad("its answer is not JSON"))?;
        let token = answer["access_token"].as_str().unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(site.bad("its answer has no access_token that can be sent"));
        }
        if answer["token_type"].as_str().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(site.bad("its token is not of the type Bearer, the only one that is served"));
        }
        let seconds = match &answer["expires_in"] {
            Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        };
        let life =
            seconds.filter(|seconds| *seconds > 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let life =
            life.map_or(UNKNOWN, |life| life.saturating_sub(MARGIN).max(life / 10 * 9).min(Duration::from_hours(24)));
        Ok((Secret::new(format!("Bearer {token}")), life))
    }

    #[cfg(test)]
    mod tests {
        use super::super::NAMES;
        use super::*;

        #[test]
        fn an_answer_gives_a_token_for_a_time_or_nothing_of_it_is_repeated() {
            let endpoint = Endpoint { tls: true, host: "login".to_owned(), port: 443, path: String::new() };
            let site = Site { what: "the token server", place: &endpoint, field: NAMES.uri.1 };
            let of = |body: &str| taken(body.as_bytes(), &site);
            for (body, life) in [
                (r#"{"access_token": "s3cr3t", "token_type": "bearer", "expires_in": 3600}"#, 3590),
                (r#"{"access_token": "s3cr3t", "token_type": "Bearer", "expires_in": "60"}"#, 54),
                (r#"{"access_token": "s3cr3t", "expires_in": 1e300}"#, 600),
                (r#"{"access_token": "s3cr3t", "expires_in": -1}"#, 600),
                (r#"{"access_token": "s3cr3t", "expires_in": 1000000}"#, 86_400),
                (r#"{"access_token": "s3cr3t"}"#, 600),
            ] {
                let (header, used) = of(body).expect(body);
                assert_eq!((header.expose(), used), ("Bearer s3cr3t", Duration::from_secs(life)), "{body}");
            }
            for body in [
                "s3cr3t",
                r#"{"access_token": ""}"#,
                r#"{"access_token": "s3cr3t\n"}"#,
                r#"{"access_token": ["s3cr3t"]}"#,
                r#"{"access_token": "s3cr3t", "token_type": "mac"}"#,
                "[]",
                "",
            ] {
                let problem = of(body).expect_err(body);
                assert_eq!((problem.kind, problem.field), (FailureKind::BadAnswer, NAMES.uri.1), "{body}");
                assert!(!problem.message.contains("s3cr3t"), "{}", problem.message);
            }
        }
    }
}
