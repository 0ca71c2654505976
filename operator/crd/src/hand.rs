//! What a person writes on a scaled object beside its spec: KEDA's annotations that pause and force. Reads text, decides
//! nothing.

use std::collections::BTreeMap;

use windlass_decision::{Hand, Pause};
use windlass_sources::ConfigError;

const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
const SCALE_IN: &str = "autoscaling.keda.sh/paused-scale-in";
const SCALE_OUT: &str = "autoscaling.keda.sh/paused-scale-out";
const FORCE: &str = "autoscaling.keda.sh/force-activation";
const TRANSFER: &str = "scaledobject.keda.sh/transfer-hpa-ownership";
const EXCLUDED_LABELS: &str = "scaledobject.keda.sh/hpa-excluded-labels";

/// What the annotations ask for.
///
/// # Errors
/// One that cannot be understood or is not supported yet: to pass over it would scale what a person has paused.
pub fn hand(annotations: &BTreeMap<String, String>) -> Result<Hand, ConfigError> {
    let says = |name: &str| annotations.get(name).map(String::as_str);
    let is_on = |name: &str| says(name).is_some_and(is_on);
    // Its presence pauses, whatever `paused` says.
    let at = says(PAUSED_REPLICAS).map(|text| {
        let replicas = text.trim().parse().ok().filter(|replicas| i32::try_from(*replicas).is_ok());
        let fix = "write a whole number of at least 0, or remove it";
        replicas.ok_or_else(|| error(PAUSED_REPLICAS, &format!("{text:?} is no number of replicas"), fix))
    });
    let pause = match at.transpose()? {
        Some(replicas) => Some(Pause::At(replicas)),
        None => is_on(PAUSED).then_some(Pause::AsItIs),
    };
    Ok(Hand {
        pause,
        scale_in_paused: is_on(SCALE_IN),
        scale_out_paused: is_on(SCALE_OUT),
        forces_activation: is_on(FORCE),
    })
}

/// Whether an HPA that is there under the object's HPA name may be taken over although it was not made for the object.
#[must_use]
pub fn transfers_hpa(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(TRANSFER).is_some_and(|text| text.trim() == "true")
}

/// The labels of the object that its HPA does not get.
pub fn excluded_labels(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    annotations.get(EXCLUDED_LABELS).into_iter().flat_map(|labels| labels.split(',')).map(str::trim)
}

/// As in KEDA, whatever is not false is on: somebody meant to pause.
fn is_on(text: &str) -> bool {
    !matches!(text.trim(), "false" | "False" | "FALSE" | "f" | "F" | "0")
}

fn error(name: &str, problem: &str, fix: &str) -> ConfigError {
    ConfigError { field: format!("metadata.annotations[{name}]"), problem: problem.to_owned(), fix: fix.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(annotations: &[(&str, &str)]) -> Result<Hand, String> {
        let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        hand(&annotations).map_err(|error| error.to_string())
    }

    #[test]
    fn each_annotation_means_what_it_means_to_keda() {
        assert_eq!(of(&[("team", "shop")]), Ok(Hand::default()));
        let pause = |pause| Ok(Hand { pause, ..Hand::default() });
        for (text, paused) in [("true", true), ("", true), ("yes", true), ("false", false), ("0", false), ("F", false)]
        {
            assert_eq!(of(&[(PAUSED, text)]), pause(paused.then_some(Pause::AsItIs)), "{text:?}");
        }
        assert_eq!(of(&[(PAUSED_REPLICAS, "0")]), pause(Some(Pause::At(0))));
        assert_eq!(of(&[(PAUSED_REPLICAS, "7"), (PAUSED, "false")]), pause(Some(Pause::At(7))), "its presence pauses");
        assert_eq!(of(&[(SCALE_IN, "true")]), Ok(Hand { scale_in_paused: true, ..Hand::default() }));
        assert_eq!(of(&[(SCALE_OUT, "true")]), Ok(Hand { scale_out_paused: true, ..Hand::default() }));
        assert_eq!(of(&[(FORCE, "true")]), Ok(Hand { forces_activation: true, ..Hand::default() }));
    }

    #[test]
    fn what_cannot_be_understood_names_the_annotation_and_what_to_do() {
        for text in ["", "many", "-1", "1.5", "99999999999"] {
            let error = of(&[(PAUSED_REPLICAS, text)]).unwrap_err();
            let named = error.starts_with("metadata.annotations[autoscaling.keda.sh/paused-replicas]: ");
            assert!(named && error.contains("whole number"), "{error}");
        }
    }

    #[test]
    fn what_is_about_the_hpa_is_read_too() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        for (text, transfers) in [("true", true), (" true ", true), ("false", false), ("yes", false), ("", false)] {
            assert_eq!(transfers_hpa(&map(&[(TRANSFER, text)])), transfers, "{text:?}");
        }
        assert!(excluded_labels(&map(&[(EXCLUDED_LABELS, "a, b/c")])).eq(["a", "b/c"]));
        assert_eq!(excluded_labels(&BTreeMap::new()).count(), 0);
    }
}
