//! Regions of AWS and their domains. It never asks anybody.

use crate::Metadata;

/// The domains of AWS, by the beginning of the region's name. The last one is that of all other regions.
const DOMAINS: &[(&str, &str)] = &[
    ("cn-", "amazonaws.com.cn"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("eusc-", "amazonaws.eu"),
    ("", "amazonaws.com"),
];

/// The domain that a region's services have their names in.
pub(crate) fn domain(region: &str) -> &'static str {
    DOMAINS.iter().find(|(start, _)| region.starts_with(start)).map_or("amazonaws.com", |(_, domain)| domain)
}

/// All of them.
pub(crate) fn domains() -> impl Iterator<Item = &'static str> {
    DOMAINS.iter().map(|(_, domain)| *domain)
}

/// Reads `awsRegion`; records with `fix` what is wrong.
pub(crate) fn region(metadata: &mut Metadata<'_>, fix: &str) -> Option<String> {
    let written = metadata.required("awsRegion", fix)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let inside = !written.starts_with('-') && !written.ends_with('-');
    if written.len() > 32 || !inside || !written.chars().all(allowed) {
        metadata.error("awsRegion", "is not a region's name: lower-case letters, digits and -", fix);
        return None;
    }
    Some(written.to_owned())
}
