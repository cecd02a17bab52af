//! Prometheus' HTTP API, as far as gates need it: instant and range queries.

use std::time::Duration;

use longshore_common::text::visible;
use serde::Deserialize;

use super::{Conclusion, Scene, check::Metrics, scene::secret};
use crate::{
    http::{Call, Url, call},
    rollout::Verdict,
};

const ATTEMPT: Duration = Duration::from_secs(10);
const BODY_BYTES: usize = 8 << 20;
/// Series of one answer; a query that gives more is not about a gate.
const SERIES: usize = 1000;

/// Where to ask, and as whom.
pub(super) struct Prometheus {
    base: Url,
    token: Option<String>,
    trust: std::sync::Arc<crate::http::Trust>,
}

/// Numbers that came, and how many were none.
#[derive(Debug, Default, PartialEq)]
pub struct Values {
    pub good: Vec<f64>,
    pub not_finite: usize,
    /// Those of `not_finite` that are infinite: beyond every bound, as alerts have it.
    pub infinite: Vec<f64>,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    /// `null` as well, as some write an empty list.
    warnings: Option<Vec<String>>,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", tag = "resultType", content = "result")]
enum Data {
    Vector(Vec<Instant>),
    Matrix(Vec<Range>),
    Scalar(Point),
    String(serde::de::IgnoredAny),
}

type Point = (f64, String);

#[derive(Deserialize)]
struct Instant {
    value: Point,
}

#[derive(Deserialize)]
struct Range {
    values: Vec<Point>,
}

impl Prometheus {
    pub fn of(metrics: &Metrics, scene: &Scene) -> Result<Self, Conclusion> {
        let base = scene.url(&metrics.prometheus)?;
        let trust = Scene::trust(metrics.ca.as_deref())?;
        let token = match metrics.token_file.as_deref() {
            None => None,
            Some(file) => Some(
                String::from_utf8(secret(file)?)
                    .map_err(|_| Conclusion::new(Verdict::NoData, "the token for Prometheus is no text"))?,
            ),
        };
        Ok(Self { base, token, trust })
    }

    /// The values at this moment, one of each series.
    pub async fn now(&self, query: &str, scene: &Scene) -> Result<Values, String> {
        let url = self.at("query")?.with_query("query", query);
        self.ask(url, scene).await
    }

    /// The values of every series from `from` to `to` (ms), a step apart.
    pub async fn between(
        &self,
        query: &str,
        from: i64,
        to: i64,
        step: Duration,
        scene: &Scene,
    ) -> Result<Values, String> {
        let seconds = |ms: i64| format!("{:.3}", ms as f64 / 1000.0);
        let url = self.at("query_range")?.with_query("query", query);
        let url = url.with_query("start", &seconds(from)).with_query("end", &seconds(to));
        self.ask(url.with_query("step", &format!("{:.3}", step.as_secs_f64())), scene).await
    }

    fn at(&self, verb: &str) -> Result<Url, String> {
        let base = self.base.path().trim_end_matches('/');
        self.base.with_path(&format!("{base}/api/v1/{verb}")).map_err(|error| error.to_string())
    }

    async fn ask(&self, url: Url, scene: &Scene) -> Result<Values, String> {
        let limit = ATTEMPT.min(scene.left());
        let mut asked = Call::get(url, limit, self.trust.clone());
        asked.max_bytes = BODY_BYTES;
        if let Some(token) = &self.token {
            asked = asked.header("authorization", format!("Bearer {token}"));
        }
        let reply = call(&asked).await.map_err(|error| longshore_common::chain::Chain(&error).to_string())?;
        let server = reply.url.server();
        if reply.cut {
            return Err(format!("{server} answered with more than {BODY_BYTES} bytes"));
        }
        read(&reply.body).map_err(|trouble| match trouble {
            Trouble::Foreign => format!("{server} answered {} and not as Prometheus does", reply.status),
            Trouble::Refused(why) => format!("{server} refused the query: {why}"),
            Trouble::Unfit(why) => format!("{server}: {why}"),
            Trouble::Partial(warning) => {
                format!("{server} warns that its answer may not be whole: {warning}")
            }
        })
    }
}

/// Why an answer gives no numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is not Prometheus'.
    Foreign,
    /// By its own words.
    Refused(String),
    Unfit(&'static str),
    /// It warns of its own answer, which may be a part only: a store of Thanos that is away is told so.
    Partial(String),
}

/// The numbers in the body of an answer. A wrong query is answered with 400 in the same shape, which says why.
pub fn read(body: &[u8]) -> Result<Values, Trouble> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| Trouble::Foreign)?;
    if answer.status != "success" {
        return Err(Trouble::Refused(visible(&answer.error)));
    }
    // Before Prometheus 3 remarks on the query stand among the warnings; the numbers are whole.
    let warnings = answer.warnings.unwrap_or_default();
    if let Some(warning) = warnings.iter().find(|warning| !warning.starts_with("PromQL info:")) {
        return Err(Trouble::Partial(visible(warning)));
    }
    values(answer.data).map_err(Trouble::Unfit)
}

fn values(data: Option<Data>) -> Result<Values, &'static str> {
    let points: Vec<Point> = match data {
        None => return Err("the answer holds no data"),
        Some(Data::String(_)) => return Err("the query gives text and not numbers"),
        Some(Data::Scalar(point)) => vec![point],
        Some(Data::Vector(series)) if series.len() > SERIES => {
            return Err("the query gives more than 1000 series");
        }
        Some(Data::Matrix(series)) if series.len() > SERIES => {
            return Err("the query gives more than 1000 series");
        }
        Some(Data::Vector(series)) => series.into_iter().map(|one| one.value).collect(),
        Some(Data::Matrix(series)) => series.into_iter().flat_map(|one| one.values).collect(),
    };
    let mut values = Values::default();
    for (_, text) in points {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => values.good.push(number),
            Ok(number) if number.is_infinite() => {
                values.not_finite += 1;
                values.infinite.push(number);
            }
            Ok(_) | Err(_) => values.not_finite += 1, // "NaN"
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Values, Trouble> {
        super::read(text.as_bytes())
    }

    #[test]
    fn answers_of_every_shape_are_read() {
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"0.5"]},{"metric":{},"value":[1,"NaN"]}]}}"#;
        assert_eq!(read(vector).unwrap(), Values { good: vec![0.5], not_finite: 1, infinite: vec![] });
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2.5,"+Inf"],[3,"2e3"]]}]}}"#;
        let infinite = vec![f64::INFINITY];
        assert_eq!(read(matrix).unwrap(), Values { good: vec![1.0, 2000.0], not_finite: 1, infinite });
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#;
        assert_eq!(read(scalar).unwrap().good, [7.0]);
        let nothing = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        assert_eq!(read(nothing).unwrap(), Values::default());
        for odd in
            ["{}", "[]", r#"{"status":"success","data":{"resultType":"vector","result":[{"value":[1]}]}}"#]
        {
            assert!(read(odd).is_err(), "{odd}");
        }
    }

    /// What Thanos gives while one of its stores is away looks as good as the whole.
    #[test]
    fn an_answer_with_a_warning_gives_no_numbers() {
        let warned = |warnings: &str| {
            read(&format!(
                r#"{{"status":"success","warnings":{warnings},"data":{{"resultType":"scalar","result":[1,"7"]}}}}"#
            ))
        };
        let away = warned(r#"["store eu-1 is away\n", "another"]"#);
        assert_eq!(away, Err(Trouble::Partial("store eu-1 is away\\n".to_owned())));
        let behind = warned(r#"["PromQL info: metric might not be a counter", "store us-1 is away"]"#);
        assert_eq!(behind, Err(Trouble::Partial("store us-1 is away".to_owned())));
        for whole in ["[]", "null", r#"["PromQL info: metric might not be a counter"]"#] {
            assert_eq!(warned(whole).unwrap().good, [7.0], "{whole}");
        }
    }
}
