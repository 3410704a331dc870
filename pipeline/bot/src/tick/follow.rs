//! What becomes of requests, said whenever it is something else.

use std::collections::BTreeMap;

use dyno_model::id::Digest;
use dyno_queue::request::submit;
use dyno_queue::{Clock, Objects};

use super::{Bot, Hindrance, Pass};
use crate::ask::{self, Ask};
use crate::configuration::Project;
use crate::conversation::{
    Comparison, Comparisons, Conversation, Outcome, Part, PartState, labels,
};
use crate::github::Transport;

impl<T: Transport, C: Clock, O: Objects, A: Comparisons> Bot<'_, T, C, O, A> {
    /// Looks after every request that is open.
    pub(super) async fn follow_all(&self, pass: &mut Pass) {
        let asks = match ask::open(self.objects, self.clock).await {
            Ok((asks, odd)) => {
                odd.into_iter().for_each(|why| pass.trouble(why));
                asks
            }
            Err(trouble) => return pass.trouble(Hindrance::from(trouble).to_string()),
        };
        for (index, ask) in asks.iter().enumerate() {
            let bot = &self.configuration.name;
            // What has the same comment and check is the same, whether or not a default was written.
            let name = |ask: &Ask| ask.subject(bot).map(|subject| subject.check_name());
            let is_of_it = |other: &&Ask| other.place == ask.place && name(other) == name(ask);
            let followed = match asks[index + 1..].iter().find(is_of_it) {
                Some(newer) => self.supersede(ask.clone(), newer).await,
                None => self.follow(ask.clone()).await,
            };
            let (place, comment) = (&ask.place, ask.comment);
            let what = format!("{}#{}, comment {comment}", place.repository, place.number);
            pass.note(&what, followed);
            if pass.is_limited {
                return;
            }
        }
    }

    /// Looks after one request.
    async fn follow(&self, mut ask: Ask) -> Result<(), Hindrance> {
        let place = ask.place.clone();
        let is_of_place =
            |rules: &&crate::configuration::Repository| rules.name == place.repository;
        let rules = self.configuration.repositories.iter().find(is_of_place);
        let (Some(rules), Some(measurement)) = (rules, ask.measurement.as_mut()) else {
            return Ok(());
        };
        // Whoever asked for the same first has split it, and those jobs are the ones that are measured.
        let submitted = submit(self.objects, self.clock, &measurement.request).await?;
        measurement.request.jobs = submitted.request.jobs;
        let status = self.status().await?;
        let mut parts = self.parts(measurement, &status).await?;
        let is_running = |part: &Part| matches!(part.state, PartState::Running { .. });
        let mut is_head_known = measurement.said.is_none();
        if !measurement.is_confirmed && parts.iter().any(is_running) {
            let (missing, head) = self.confirm(rules, &place, measurement).await?;
            (measurement.missing, measurement.is_confirmed) = (missing, true);
            is_head_known = head.is_some();
            measurement.head = head.unwrap_or_else(|| measurement.head.clone());
            let is_refused = !measurement.missing.is_empty();
            ask::keep(self.objects, self.clock, &ask, true).await?;
            if is_refused && let Some(measurement) = &ask.measurement {
                self.end(measurement, &self.configuration.name).await?;
                parts = self.parts(measurement, &self.status().await?).await?;
            }
        }
        let seen = digest(&parts);
        let Some(measurement) = ask.measurement.as_mut() else { return Ok(()) };
        if measurement.said.as_ref() == Some(&seen) {
            return Ok(());
        }
        if !is_head_known && let Some(pull) = self.github.pull(&place).await? {
            measurement.head = pull.request.head;
        }
        let is_measured = |part: &Part| matches!(part.state, PartState::Measured { .. });
        let comparison = match parts.iter().any(is_measured) {
            true => self.comparisons.compare(&measurement.request).await?,
            false => None,
        };
        let project = self.project(rules).await?.unwrap_or_default();
        let Some(conversation) = self.conversation(&ask, parts, comparison) else { return Ok(()) };
        let is_silent = self.configuration.silent_when_unchanged;
        self.say(&place, conversation.comment(&project, is_silent)).await?;
        self.say(&place, conversation.check(&project)).await?;
        let Some(measurement) = ask.measurement.as_mut() else { return Ok(()) };
        (measurement.said, measurement.outcome) = (Some(seen), conversation.outcome());
        self.say_labels(&ask, &project).await?;
        let is_open = !conversation.stage().is_end();
        Ok(ask::keep(self.objects, self.clock, &ask, is_open).await?)
    }

    /// Ends a request about whose subject a newer one is open: the comment is that one's.
    async fn supersede(&self, mut ask: Ask, newer: &Ask) -> Result<(), Hindrance> {
        let Some(measurement) = ask.measurement.as_mut() else { return Ok(()) };
        let is_other = newer
            .measurement
            .as_ref()
            .is_none_or(|newer| newer.request.id() != measurement.request.id());
        if is_other {
            self.end(measurement, &newer.by.login).await?;
        }
        measurement.outcome = Outcome::Nothing;
        let mut parts = self.parts(measurement, &self.status().await?).await?;
        let by = newer.by.login.clone();
        for part in &mut parts {
            part.state = PartState::Cancelled { by: by.clone() };
        }
        if let Some(conversation) = self.conversation(&ask, parts, None) {
            self.say(&ask.place, conversation.check(&Project::default())).await?;
        }
        Ok(ask::keep(self.objects, self.clock, &ask, false).await?)
    }

    /// All that is known of a request.
    pub(super) fn conversation(
        &self,
        ask: &Ask,
        parts: Vec<Part>,
        comparison: Option<Comparison>,
    ) -> Option<Conversation> {
        let measurement = ask.measurement.as_ref()?;
        let granted = measurement.grant.commit.as_ref();
        let report_url = self.configuration.report_url.as_ref();
        let id = measurement.request.id();
        Some(Conversation {
            subject: ask.subject(&self.configuration.name)?,
            request: ask.comment.to_string(),
            by: ask.by.clone(),
            command: ask.command.clone()?,
            commit: granted.map(|granted| granted.commit.clone()),
            baseline: measurement.baseline.clone(),
            trust: measurement.request.requests.first()?.trust,
            head: measurement.head.clone(),
            parts,
            comparison,
            report_url: report_url.map(|url| format!("{url}/{id}/report.html")),
        })
    }

    /// Labels what the requests of a pull request have come to, the newest of each subject.
    async fn say_labels(&self, ask: &Ask, project: &Project) -> Result<(), Hindrance> {
        let has_labels = project.labels.all().next().is_some() || project.waiting_label.is_some();
        if !has_labels {
            return Ok(());
        }
        let (open, _) = ask::open(self.objects, self.clock).await?;
        let mut all = ask::asked(self.objects, self.clock, &ask.place).await?;
        all.extend(open.into_iter().filter(|other| other.place == ask.place));
        all.retain(|other| other.comment != ask.comment);
        all.push(ask.clone());
        all.sort_by_key(|ask| ask.comment);
        let mut newest: BTreeMap<String, Outcome> = BTreeMap::new();
        for ask in &all {
            let subject = ask.subject(&self.configuration.name);
            if let (Some(subject), Some(measurement)) = (subject, &ask.measurement) {
                newest.insert(subject.check_name(), measurement.outcome);
            }
        }
        let outcomes: Vec<Outcome> = newest.into_values().collect();
        self.say(&ask.place, labels(project, &outcomes)).await
    }
}

/// What is said again only when it is something else: not that a place in the queue has moved, or a
/// request would take as many calls as others come before it.
fn digest(parts: &[Part]) -> String {
    let coarse = parts.iter().map(|part| {
        let state = match &part.state {
            PartState::Queued { .. } => "queued".to_string(),
            state => format!("{state:?}"),
        };
        format!("{} {state}", part.class)
    });
    Digest::of_parts(coarse).hex()[..32].to_string()
}
