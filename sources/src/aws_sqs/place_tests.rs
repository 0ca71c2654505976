//! The address that is checked is the one that AWS has in each region.

use super::address;

#[test]
fn a_region_s_address_follows_its_partition() {
    for (region, wanted) in [
        ("eu-west-1", "sqs.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "sqs.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "sqs.cn-north-1.amazonaws.com.cn"),
    ] {
        assert_eq!(address(region), wanted);
    }
}

#[cfg(feature = "connect")]
#[tokio::test]
async fn the_sdk_knows_the_same_addresses() {
    use aws_sdk_sqs::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};

    for region in [
        "us-east-1",
        "eu-west-1",
        "eu-isoe-west-1",
        "eusc-de-east-1",
        "ap-southeast-7",
        "il-central-1",
        "cn-north-1",
        "cn-northwest-1",
        "us-gov-east-1",
        "us-iso-east-1",
        "us-isob-east-1",
        "us-isof-south-1",
        "a-region-of-tomorrow",
    ] {
        let parameters = Params::builder().region(region.to_owned()).build().expect("parameters");
        let endpoint = DefaultResolver::new().resolve_endpoint(&parameters).await.expect("an endpoint");
        assert_eq!(endpoint.url(), format!("https://{}", address(region)), "{region}");
    }
}
