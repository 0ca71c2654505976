//! What each code of AWS, and of the servers that stand in for it, is taken for.

use super::*;

#[test]
fn a_code_says_what_happened_and_the_status_where_there_is_none() {
    let table = [
        ("QueueDoesNotExist", 400, Meaning::NoQueue),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, Meaning::NoQueue),
        ("InvalidAddress", 404, Meaning::Elsewhere),
        ("InvalidClientTokenId", 403, Meaning::WrongKey),
        ("UnrecognizedClientException", 400, Meaning::WrongKey),
        ("SignatureDoesNotMatch", 403, Meaning::WrongSignature),
        ("InvalidSignatureException", 400, Meaning::WrongSignature),
        ("RequestExpired", 400, Meaning::WrongSignature),
        ("ExpiredToken", 403, Meaning::Expired),
        ("ExpiredTokenException", 400, Meaning::Expired),
        ("AccessDenied", 403, Meaning::Denied),
        ("AccessDeniedException", 400, Meaning::Denied),
        ("ThrottlingException", 400, Meaning::Throttled),
        ("RequestThrottled", 403, Meaning::Throttled),
        ("OverLimit", 403, Meaning::Throttled),
        ("", 401, Meaning::Refused),
        ("Odd", 403, Meaning::Refused),
        ("", 429, Meaning::Throttled),
        ("InternalFailure", 500, Meaning::Fault),
        ("", 503, Meaning::Fault),
        ("InvalidAttributeName", 400, Meaning::Unknown),
        ("", 404, Meaning::Unknown),
    ];
    for (code, status, wanted) in table {
        assert_eq!(meaning(code, status), wanted, "{code} {status}");
    }
}
