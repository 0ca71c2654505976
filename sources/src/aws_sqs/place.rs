//! Where a queue is: `queueURL`, `awsRegion` and `awsEndpoint`, which must agree. It never asks anybody.

use url::Url;

use super::config::Queue;
use crate::{Metadata, aws};

/// SQS allows names of at most this many characters, `.fifo` included.
const MAX_NAME: usize = 80;
/// The end of a FIFO queue's name.
const FIFO: &str = ".fifo";
const QUEUE: &str =
    "write the queue's URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/orders, or its name alone";
const ENDPOINT: &str = "write the service's address, such as http://elasticmq.shop:9324, or remove it for AWS itself";
/// The service's address in a region of AWS.
pub(super) fn address(region: &str) -> String {
    format!("sqs.{region}.{}", aws::domain(region))
}

/// What is asked in a region of AWS, where no other endpoint is named.
pub(super) fn own(region: &str) -> String {
    format!("https://{}", address(region))
}

/// Reads `queueURL`: a URL, or a name.
pub(super) fn queue(metadata: &mut Metadata<'_>) -> Option<Queue> {
    let written = metadata.required("queueURL", QUEUE)?;
    match understand(written) {
        Ok((queue, host)) => {
            if let Some(host) = host {
                metadata.check_host("queueURL", &host);
            }
            Some(queue)
        }
        Err(problem) => {
            metadata.error("queueURL", problem, QUEUE);
            None
        }
    }
}

fn understand(written: &str) -> Result<(Queue, Option<String>), &'static str> {
    if written.starts_with("arn:") {
        return Err("is an ARN, which SQS does not take");
    }
    if !written.contains(['/', ':']) {
        return Ok((Queue { name: name(written)?, url: None }, None));
    }
    let url = web(written)?;
    let path: Vec<_> = url.path().split('/').collect();
    let ["", account, queue] = path[..] else { return Err("has a path other than /<account>/<name>") };
    if account.is_empty() {
        return Err("has a path other than /<account>/<name>");
    }
    let host = host(&url).ok_or("names no host")?;
    Ok((Queue { name: name(queue)?, url: Some(written.to_owned()) }, Some(host)))
}

/// A name that SQS allows: letters, digits, `-` and `_`, and `.fifo` at the end of a FIFO queue.
fn name(written: &str) -> Result<String, &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let stem = written.strip_suffix(FIFO).unwrap_or(written);
    if stem.is_empty() || !stem.chars().all(allowed) {
        return Err("names no queue: a name has letters, digits, - and _, and may end in .fifo");
    }
    if written.len() > MAX_NAME {
        return Err("names no queue: a name has at most 80 characters");
    }
    Ok(written.to_owned())
}

/// A URL of http or https without what has no business there: a user, a query, a fragment.
fn web(written: &str) -> Result<Url, &'static str> {
    let url = Url::parse(written).map_err(|_| "is not a URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("has a scheme other than http and https");
    }
    // A / or # in a password ends the host early: what follows is then no path, and must not be shown as one.
    if written.contains('@') {
        return Err("holds a user or a password, which are not sent this way");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a part after ? or #");
    }
    Ok(url)
}

/// The host that a URL leads to, an IPv6 address without brackets.
fn host(url: &Url) -> Option<String> {
    match url.host()? {
        url::Host::Domain(name) => Some(name.trim_end_matches('.').to_owned()).filter(|name| !name.is_empty()),
        url::Host::Ipv4(address) => Some(address.to_string()),
        url::Host::Ipv6(address) => Some(address.to_string()),
    }
}

/// Reads `awsRegion`, which becomes part of a host name.
pub(super) fn region(metadata: &mut Metadata<'_>, queue: Option<&Queue>) -> Option<String> {
    let named = match metadata.is_public("queueURL").then(|| queue.and_then(of_aws)).flatten() {
        Some(OfAws::Region(region)) => format!("write {region}, the region of queueURL"),
        _ => "write the region of the queue, such as eu-west-1".to_owned(),
    };
    aws::region(metadata, &named)
}

/// What the host of a queue's URL says, if it is one of AWS.
enum OfAws {
    /// The region that the host names.
    Region(String),
    /// The host names none that is known to be one.
    Unknown,
}

fn of_aws(queue: &Queue) -> Option<OfAws> {
    let host = host(&Url::parse(queue.url.as_deref()?).ok()?)?;
    let ours = |domain: &str| host.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.'));
    let rest = aws::domains().find_map(ours).or_else(|| ours("api.aws"))?;
    // The address of today, that with FIPS, and that of the early years.
    let region = match rest.split('.').collect::<Vec<_>>()[..] {
        ["sqs" | "sqs-fips", region] | [region, "queue"] => region,
        ["queue"] => "us-east-1",
        _ => return Some(OfAws::Unknown),
    };
    Some(OfAws::Region(region.to_owned()))
}

/// Reads `awsEndpoint`; without it, the address is AWS's own for the region. The queue's URL must fit: the service is asked
/// at its own address, not at that of the queue's URL.
pub(super) fn endpoint(metadata: &mut Metadata<'_>, queue: Option<&Queue>, region: Option<&str>) -> Option<String> {
    if let Some(written) = metadata.optional("awsEndpoint") {
        let understood = web(written).and_then(|url| Ok((host(&url).ok_or("names no host")?, url)));
        return match understood {
            Ok((host, url)) => {
                metadata.check_host("awsEndpoint", &host);
                Some(url.as_str().trim_end_matches('/').to_owned())
            }
            Err(problem) => {
                metadata.error("awsEndpoint", problem, ENDPOINT);
                None
            }
        };
    }
    let region = region?;
    match queue.filter(|queue| queue.url.is_some()).map(of_aws) {
        Some(None) => {
            let fix = "give the service's address as awsEndpoint too, or correct queueURL";
            metadata.error("queueURL", "is not at AWS", fix);
        }
        Some(Some(OfAws::Region(named))) if named != region => {
            let fix = "write the region that queueURL names, or correct queueURL";
            metadata.error("awsRegion", "is not the region of queueURL", fix);
        }
        _ => {}
    }
    metadata.check_host("awsRegion", &address(region));
    Some(own(region))
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
