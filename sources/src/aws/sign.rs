//! Signature Version 4 for what no SDK sends: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>. It sends nothing.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningInstructions, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use percent_encoding::utf8_percent_encode;
use url::Url;

use crate::Secret;
use crate::http::UNRESERVED;

/// For whom a request is signed, and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    pub(crate) now: SystemTime,
}

impl Scope<'_> {
    /// The headers that sign a GET of `url`. Its query string must be encoded by [`encoded`]; a `+` in it means two things.
    pub(crate) fn headers(&self, credentials: &Credentials, url: &Url) -> Option<Vec<(String, Secret)>> {
        let signed = self.sign(credentials, url, SigningSettings::default())?;
        let headers = signed.headers().map(|(name, value)| (name.to_owned(), Secret::new(value)));
        Some(headers.collect())
    }

    /// `url` with a signature of a GET in its query string, good for so long.
    pub(crate) fn url(&self, credentials: &Credentials, url: &Url, life: Duration) -> Option<String> {
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(life);
        let signed = self.sign(credentials, url, settings)?;
        let pairs = signed.params().iter().map(|(name, value)| (*name, value.as_ref()));
        Some(format!("{url}&{}", encoded(pairs)))
    }

    fn sign(&self, credentials: &Credentials, url: &Url, settings: SigningSettings) -> Option<SigningInstructions> {
        let identity = credentials.clone().into();
        let builder = v4::SigningParams::builder().identity(&identity).region(self.region).name(self.service);
        let parameters = builder.time(self.now).settings(settings).build().ok()?.into();
        let host = url.host_str()?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let headers = [("host", host.as_str())];
        let request = SignableRequest::new("GET", url.as_str(), headers.into_iter(), SignableBody::Bytes(&[])).ok()?;
        Some(sign(request, &parameters).ok()?.into_parts().0)
    }
}

/// A query string as AWS has it: a space is `%20`.
pub(crate) fn encoded<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let encoded = |text| utf8_percent_encode(text, UNRESERVED);
    let pairs = pairs.into_iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}
