//! Tokens of ServiceAccounts.

use data_encoding::BASE64URL_NOPAD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::lab::lab;

#[tokio::test(start_paused = true)]
async fn a_token_names_its_account_and_is_good_as_long_as_was_asked() {
    let lab = lab();
    let accounts: Api<ServiceAccount> = Api::namespaced(lab.cluster.client("tester"), "shop");
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "reader"}})).unwrap();
    let account = accounts.create(&PostParams::default(), &account).await.unwrap();
    let ask = async |name: &str, seconds: Option<i64>| {
        let spec = TokenRequestSpec { expiration_seconds: seconds, ..TokenRequestSpec::default() };
        accounts
            .create_token_request(name, &PostParams::default(), &TokenRequest { spec, ..TokenRequest::default() })
            .await
    };
    let given = ask("reader", Some(700)).await.unwrap();
    let token = given.status.unwrap().token;
    let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["sub"], "system:serviceaccount:shop:reader");
    assert_eq!(claims["kubernetes.io"]["serviceaccount"]["uid"].as_str(), account.metadata.uid.as_deref());
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 700);
    assert_eq!(ask("reader", None).await.unwrap().spec.expiration_seconds, Some(3600));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_ne!(ask("reader", Some(700)).await.unwrap().status.unwrap().token, token, "another one a second later");
    for (name, seconds, code) in [("none", None, 404), ("reader", Some(599), 422), ("reader", Some(1 << 33), 422)] {
        match ask(name, seconds).await {
            Err(kube::Error::Api(status)) => assert_eq!(status.code, code, "{name} {seconds:?}"),
            other => panic!("{name} {seconds:?}: {other:?}"),
        }
    }
}
