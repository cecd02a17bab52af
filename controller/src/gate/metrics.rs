//! What Prometheus measured: within bounds for as long as a window, or as good on the hosts that run the release as on
//! those that do not yet.

use longshore_common::time::rounded;

use super::{
    Conclusion, Scene,
    check::{Metrics, Rule, Worse},
    prometheus::{Prometheus, Values},
    scene::{Heard, Named},
    stats::{Compared, compare, least},
};
use crate::rollout::Verdict;

/// In a query: the hosts that it is about.
const HOSTS: &str = "$hosts";

pub async fn look(metrics: &Metrics, scene: &Scene) -> Conclusion {
    let prometheus = match Prometheus::of(metrics, scene) {
        Ok(prometheus) => prometheus,
        Err(conclusion) => return conclusion,
    };
    // Without any the query is about other series than meant, or about all of them.
    if scene.changed.is_empty() && metrics.query.contains(HOSTS) {
        return Conclusion::new(Verdict::NoData, "no host runs the release, so $hosts stands for none");
    }
    match &metrics.rule {
        Rule::Within { min, max, breaches } => {
            Bounds { metrics, min: *min, max: *max, breaches: *breaches }.look(&prometheus, scene).await
        }
        Rule::Baseline { worse, significance, effect } => {
            let rule = Against { worse: *worse, significance: *significance, effect: *effect };
            baseline(metrics, &rule, &prometheus, scene).await
        }
    }
}

/// `$hosts` becomes the hosts' names as a regular expression that fits none but them.
fn query(metrics: &Metrics, scene: &Scene, hosts: &[Named]) -> String {
    let names: Vec<String> = hosts.iter().map(|host| escaped(host.name.as_str())).collect();
    scene.fill(&metrics.query.replace(HOSTS, &names.join("|")))
}

/// For a regular expression inside a quoted string of PromQL.
fn escaped(name: &str) -> String {
    name.chars().map(|c| if c == '.' { "\\\\.".to_owned() } else { c.to_string() }).collect()
}

struct Bounds<'a> {
    metrics: &'a Metrics,
    min: Option<f64>,
    max: Option<f64>,
    breaches: u32,
}

/// What was seen so far.
#[derive(Clone, Copy, Default)]
struct Tally {
    good: u32,
    broken: u32,
    odd: usize,
}

impl Bounds<'_> {
    /// Looks every step until the window is over; a breach too many ends it at once.
    async fn look(&self, prometheus: &Prometheus, scene: &Scene) -> Conclusion {
        let query = query(self.metrics, scene, &scene.changed);
        let (mut seen, mut heard) = (Tally::default(), Heard::default());
        // What another controller saw of the window went with it, and Prometheus still knows.
        let before = scene.clock.now_ms() - self.metrics.step.as_ms();
        let mut is_lacking = before >= scene.since;
        loop {
            let mut trouble = None;
            let over = scene.clock.now_ms() - scene.since >= self.metrics.window.as_ms();
            if is_lacking {
                let step = self.metrics.step.0;
                match prometheus.between(&query, scene.since, before, step, scene).await {
                    Err(why) => trouble = Some(why),
                    Ok(values) => {
                        is_lacking = false;
                        heard.add(format!("before: {}", self.line(&values)));
                        if let Some(note) = self.count(&values, &mut seen) {
                            return Conclusion::new(Verdict::Fail, note).with(heard.lines());
                        }
                    }
                }
            }
            let last = match prometheus.now(&query, scene).await {
                Err(why) => {
                    heard.add(why.clone());
                    trouble = Some(why.clone());
                    why
                }
                Ok(values) => {
                    let line = self.line(&values);
                    heard.add(line.clone());
                    if let Some(note) = self.count(&values, &mut seen) {
                        return Conclusion::new(Verdict::Fail, note).with(heard.lines());
                    }
                    // What is measured no more is not within bounds.
                    if values.good.is_empty() && seen.good > 0 {
                        trouble = Some(format!("the query gives {line}"));
                    }
                    line
                }
            };
            let Tally { good, broken, odd } = seen;
            scene.tell(format!("{good} values, {broken} out of bounds; last: {last}"));
            if over && good >= self.metrics.samples && trouble.is_none() {
                let note = format!("{good} values, {broken} out of bounds, in {}", self.metrics.window);
                return Conclusion::new(Verdict::Pass, note).with(heard.lines());
            }
            if !scene.pause(self.metrics.step.0).await {
                return short(good, self.metrics.samples, odd, trouble).with(heard.lines());
            }
        }
    }

    /// Adds them; the breach that is one too many, in words.
    fn count(&self, values: &Values, seen: &mut Tally) -> Option<String> {
        let all = values.good.iter().chain(&values.infinite).copied();
        let outside: Vec<f64> = all.filter(|value| !self.holds(*value)).collect();
        seen.good += values.good.len() as u32;
        seen.broken += outside.len() as u32;
        seen.odd += values.not_finite;
        let first = outside.first().filter(|_| seen.broken > self.breaches)?;
        Some(format!("{} is {}", number(*first), self.says()))
    }

    fn holds(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }

    fn says(&self) -> String {
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("not between {} and {}", number(min), number(max)),
            (Some(min), None) => format!("less than {}", number(min)),
            (None, Some(max)) => format!("more than {}", number(max)),
            (None, None) => "out of bounds".to_owned(),
        }
    }

    fn line(&self, values: &Values) -> String {
        let mut shown: Vec<String> = values.good.iter().take(8).map(|value| number(*value)).collect();
        if values.good.len() > 8 {
            shown.push(format!("and {} more", values.good.len() - 8));
        }
        if values.not_finite > 0 {
            shown.push(format!("{} not finite", values.not_finite));
        }
        if shown.is_empty() { "no series".to_owned() } else { shown.join(", ") }
    }
}

/// Why there is no verdict when the time is over.
fn short(good: u32, wanted: u32, odd: usize, trouble: Option<String>) -> Conclusion {
    match (good, trouble, odd) {
        (0, Some(trouble), 0) => Conclusion::new(Verdict::NoData, trouble),
        (0, Some(trouble), odd) => {
            let note = format!("every value is NaN or infinite ({odd}), then no more: {trouble}");
            Conclusion::new(Verdict::NoData, note)
        }
        (0, None, 0) => Conclusion::new(Verdict::NoData, "the query gives no series"),
        (0, None, odd) => Conclusion::new(Verdict::NoData, format!("every value is NaN or infinite ({odd})")),
        (good, Some(trouble), _) => {
            Conclusion::new(Verdict::Inconclusive, format!("{good} values, then no more: {trouble}"))
        }
        (good, None, _) if good < wanted => {
            Conclusion::new(Verdict::Inconclusive, format!("{good} values; {wanted} are needed"))
        }
        (good, None, _) => Conclusion::new(
            Verdict::Inconclusive,
            format!("{good} values, and the window was not over in time"),
        ),
    }
}

struct Against {
    worse: Worse,
    significance: f64,
    effect: f64,
}

/// Waits until the window is full, so that nothing from before the change is counted, then compares.
async fn baseline(metrics: &Metrics, rule: &Against, prometheus: &Prometheus, scene: &Scene) -> Conclusion {
    if scene.untouched.is_empty() {
        return Conclusion::new(
            Verdict::NoData,
            "no host runs what was there before, so there is no baseline",
        );
    }
    let (canary, before) = (query(metrics, scene, &scene.changed), query(metrics, scene, &scene.untouched));
    let mut heard = Heard::default();
    loop {
        let now = scene.clock.now_ms();
        let left = scene.since + metrics.window.as_ms() - now;
        if left > 0 {
            scene.tell(format!("gathering for {} more", rounded(left)));
            if !scene.pause(std::time::Duration::from_millis(left.unsigned_abs())).await {
                return short(0, metrics.samples, 0, Some("the window was not over in time".to_owned()));
            }
            continue;
        }
        let step = metrics.step.0;
        let first = prometheus.between(&canary, scene.since, now, step, scene).await;
        let second = match &first {
            Ok(_) => prometheus.between(&before, scene.since, now, step, scene).await,
            Err(why) => Err(why.clone()),
        };
        let said = match (first, second) {
            (Ok(first), Ok(second)) => match judge(&first, &second, metrics.samples, rule) {
                Ok(conclusion) => return conclusion.with(heard.lines()),
                Err(lacking) => lacking,
            },
            (Err(why), _) | (_, Err(why)) => Conclusion::new(Verdict::NoData, why),
        };
        scene.tell(&said.note);
        heard.add(said.note.clone());
        if !scene.pause(step).await {
            return said.with(heard.lines());
        }
    }
}

/// A verdict, or what is lacking for one.
fn judge(canary: &Values, before: &Values, samples: u32, rule: &Against) -> Result<Conclusion, Conclusion> {
    for (values, what) in [(canary, "the release"), (before, "the baseline")] {
        let (good, odd) = (values.good.len(), values.not_finite);
        if good == 0 {
            let odd = if odd > 0 { format!("; {odd} are NaN or infinite") } else { String::new() };
            return Err(Conclusion::new(Verdict::NoData, format!("no values of {what}{odd}")));
        }
        if good < samples as usize {
            let note = format!("{good} values of {what}; {samples} are needed");
            return Err(Conclusion::new(Verdict::Inconclusive, note));
        }
    }
    let (few, many) = (canary.good.len(), before.good.len());
    if least(few, many) >= rule.significance {
        let note = format!(
            "however far apart, {few} values against {many} do not differ at a significance of {}: more are needed",
            number(rule.significance)
        );
        return Err(Conclusion::new(Verdict::Inconclusive, note));
    }
    let compared = compare(&canary.good, &before.good).expect("neither is empty");
    let verdict = if rule.is_worse(&compared) { Verdict::Fail } else { Verdict::Pass };
    let word = match (rule.differs(&compared), compared.delta > 0.0) {
        (false, _) => "no difference that counts",
        (true, true) => "higher than the baseline",
        (true, false) => "lower than the baseline",
    };
    let Compared { u, p, delta } = compared;
    let p = chance(p);
    let note = format!("{word}: {p}, effect {delta:+.2}");
    let medians = format!(
        "median {} of {few} values against {} of {many}; U = {u}, {p}, Cliff's delta {delta:+.2}",
        number(median(&canary.good)),
        number(median(&before.good))
    );
    Ok(Conclusion::new(verdict, note).with([medians]))
}

impl Against {
    fn differs(&self, compared: &Compared) -> bool {
        compared.p < self.significance && compared.delta.abs() >= self.effect
    }

    fn is_worse(&self, compared: &Compared) -> bool {
        let way = match self.worse {
            Worse::Higher => compared.delta > 0.0,
            Worse::Lower => compared.delta < 0.0,
            Worse::Either => true,
        };
        way && self.differs(compared)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// `p = 0.1272`, `p < 0.0001`
fn chance(p: f64) -> String {
    if p < 0.0001 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") }
}

/// Four digits that count.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "0" && value != 0.0 { format!("{value:.2e}") } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(good: impl IntoIterator<Item = f64>) -> Values {
        Values { good: good.into_iter().collect(), ..Values::default() }
    }

    const RULE: Against = Against { worse: Worse::Higher, significance: 0.05, effect: 0.3 };

    fn verdict(canary: Values, before: Values, rule: &Against) -> Conclusion {
        judge(&canary, &before, 10, rule).unwrap_or_else(|lacking| lacking)
    }

    /// Scenario 40: what is alike passes; what is shifted is higher or lower, and which of them is bad is declared.
    #[test]
    fn populations_are_told_apart_by_direction() {
        let around = |middle: f64| values((0..20).map(move |n| middle + f64::from(n % 7) / 10.0));
        let same = verdict(around(1.0), around(1.0), &RULE);
        assert_eq!((same.verdict, same.note.starts_with("no difference that counts")), (Verdict::Pass, true));
        let high = verdict(around(2.0), around(1.0), &RULE);
        assert_eq!((high.verdict, high.note.starts_with("higher than the baseline")), (Verdict::Fail, true));
        let low = verdict(around(0.2), around(1.0), &RULE);
        assert_eq!((low.verdict, low.note.starts_with("lower than the baseline")), (Verdict::Pass, true));
        let either = Against { worse: Worse::Either, ..RULE };
        assert_eq!(verdict(around(0.2), around(1.0), &either).verdict, Verdict::Fail);
    }

    /// However sure a difference is, one that is too small to matter does not count.
    #[test]
    fn a_difference_has_to_matter() {
        let canary = values((0..400).map(|n| f64::from(n) + 40.0));
        let before = values((0..400).map(f64::from));
        let careful = Against { effect: 0.5, ..RULE };
        assert_eq!(verdict(canary, before, &careful).verdict, Verdict::Pass);
    }

    /// What could not fail whatever was measured has not passed either.
    #[test]
    fn too_few_to_fail_are_too_few_to_pass() {
        let judged = |values_of_each: usize| {
            let canary = values((0..values_of_each).map(|n| 100.0 + n as f64));
            let before = values((0..values_of_each).map(|n| n as f64));
            judge(&canary, &before, 3, &RULE).unwrap_or_else(|lacking| lacking)
        };
        let three = judged(3);
        assert_eq!(
            (three.verdict, three.note.as_str()),
            (
                Verdict::Inconclusive,
                "however far apart, 3 values against 3 do not differ at a significance of 0.05: more are needed"
            )
        );
        assert_eq!(judged(4).verdict, Verdict::Fail);
    }

    /// Scenario 41: nothing measured is no data, too little is inconclusive, and neither ever passes.
    #[test]
    fn too_little_is_never_a_pass() {
        let some = || values((0..20).map(f64::from));
        let nan = Values { not_finite: 12, ..Values::default() };
        let said = verdict(nan, some(), &RULE);
        assert_eq!(
            (said.verdict, said.note.as_str()),
            (Verdict::NoData, "no values of the release; 12 are NaN or infinite")
        );
        assert_eq!(verdict(some(), values([]), &RULE).verdict, Verdict::NoData);
        let few = verdict(some(), values([1.0, 2.0]), &RULE);
        assert_eq!(
            (few.verdict, few.note.as_str()),
            (Verdict::Inconclusive, "2 values of the baseline; 10 are needed")
        );
        assert_eq!(short(0, 3, 0, Some("away".into())).verdict, Verdict::NoData);
        let cut_short = short(0, 3, 2, Some("away".into()));
        assert_eq!(cut_short.note, "every value is NaN or infinite (2), then no more: away");
        assert_eq!(short(2, 3, 0, None).note, "2 values; 3 are needed");
    }

    #[test]
    fn numbers_and_names_are_written_as_people_and_prometheus_read_them() {
        assert_eq!(
            [number(0.05), number(12.0), number(0.0), number(0.000_012)],
            ["0.05", "12", "0", "1.20e-5"]
        );
        assert_eq!([chance(0.127_2), chance(0.000_04)], ["p = 0.1272", "p < 0.0001"]);
        assert_eq!(escaped("web-1.example"), "web-1\\\\.example");
        assert_eq!(median(&[3.0, 1.0, 2.0, 4.0]), 2.5);
    }
}
