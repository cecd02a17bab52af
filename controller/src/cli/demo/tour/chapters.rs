//! The chapters of the tour, in the order in which they are walked.

use std::path::Path;

use longshore_common::{
    digest::PlanDigest,
    durable::{create_dir_durable, write_atomic},
};
use longshore_proto::v1 as pb;
use tokio::time::Instant;

use super::{APPROVER, AUTHOR, typed::Typist};
use crate::cli::{
    client::Client,
    demo::{
        fleet::ANSWER,
        goods::{Release, policy, write_release},
        stage::Stage,
        story::counter_line,
        traffic::Traffic,
        world::{World, failed},
    },
    exit::Exit,
    failure::Failure,
};

/// What the author and the approver of a tour have before them.
pub struct Tour<'a> {
    pub stage: &'a Stage,
    pub world: &'a mut World,
    pub client: &'a Client,
    pub customers: &'a Traffic,
    pub typist: Typist,
}

impl Tour<'_> {
    pub async fn walk(&mut self) -> Result<(), Failure> {
        self.a_policy().await?;
        let plan = self.a_plan().await?;
        self.an_approval(&plan).await?;
        self.a_canary(&plan).await?;
        let refused = self.a_gate().await?;
        self.the_way_back().await?;
        self.another_world(&refused).await?;
        self.the_record().await
    }

    async fn a_policy(&mut self) -> Result<(), Failure> {
        self.typist
            .chapter(
                1,
                "A policy",
                "So far whoever may deploy can deploy. That changes: a second person, a file that says \
                 how carefully, who has to agree, and what is measured on the canary before anybody else \
                 is touched.",
            )
            .await?;
        let file = self.world.folder.join("harbour.toml");
        write_atomic(&file, policy().as_bytes(), 0o644).map_err(|error| failed(&error))?;
        let add = format!("user add {APPROVER} --role approver:@harbour --out {APPROVER}");
        self.typist.types(AUTHOR, &add, Exit::Done).await?;
        self.typist.reads(AUTHOR, "harbour.toml").await?;
        self.typist.types(AUTHOR, "env apply harbour.toml", Exit::Done).await
    }

    /// The digest of the plan that comes out.
    async fn a_plan(&mut self) -> Result<String, Failure> {
        self.typist
            .chapter(
                2,
                "A plan: know before you touch",
                "Every host is asked now, and nothing is changed: who would be moved in which wave, what \
                 differs, how many bytes, what has to hold in between, and how it would be undone. What \
                 comes out is named by a digest.",
            )
            .await?;
        self.publish(Release::Better).await?;
        self.typist.types(AUTHOR, "plan shop@1.1 --to harbour", Exit::Done).await?;
        self.newest_plan().await
    }

    async fn an_approval(&mut self, plan: &str) -> Result<(), Failure> {
        self.typist
            .chapter(
                3,
                "An approval: of this plan, by somebody else",
                "Without it nothing starts, and nobody approves a plan of their own. An approval is for \
                 one digest: should the world move, there is another plan and it has to be approved anew.",
            )
            .await?;
        self.typist.types(AUTHOR, &format!("rollout start {plan}"), Exit::Refused).await?;
        self.typist.types(AUTHOR, &format!("rollout approve {plan}"), Exit::Refused).await?;
        self.typist.types(APPROVER, "rollout approvals", Exit::Done).await?;
        self.typist.types(APPROVER, &approve(plan, "read the diff"), Exit::Done).await
    }

    async fn a_canary(&mut self, plan: &str) -> Result<(), Failure> {
        self.typist
            .chapter(
                4,
                "A canary",
                "One host goes first. While it bakes its agent counts the errors that the shop logs, with \
                 customers inside; the gate is open after four seconds within bounds, and only then do \
                 the others follow.",
            )
            .await?;
        self.typist.types(AUTHOR, &format!("rollout start {plan} --wait"), Exit::Done).await?;
        self.count()
    }

    /// The digest of the plan whose release did not get through.
    async fn a_gate(&mut self) -> Result<String, Failure> {
        self.typist
            .chapter(
                5,
                "A gate that stops a release",
                "shop 1.2 starts, its probe is green, every customer is served. But it complains of every \
                 page in its log, which no probe sees. The plan is as good as the first, and it is \
                 approved. Afterwards: why, in one command, with what the gate rests on, and the lines \
                 that it counted.",
            )
            .await?;
        self.publish(Release::Grumbling).await?;
        self.typist.types(AUTHOR, "plan shop@1.2 --to harbour", Exit::Done).await?;
        let plan = self.newest_plan().await?;
        self.typist.types(APPROVER, &approve(&plan, "looks harmless"), Exit::Done).await?;
        self.typist.types(AUTHOR, &format!("rollout start {plan} --wait"), Exit::Failed).await?;
        self.count()?;
        self.stage
            .tell("Why, in one command, with what the gate rests on; and the lines that it counted:")?;
        self.typist.types(AUTHOR, "rollout explain latest", Exit::Done).await?;
        self.typist.types(AUTHOR, "logs shop --host harbour-1 -n 4", Exit::Done).await?;
        Ok(plan)
    }

    async fn the_way_back(&mut self) -> Result<(), Failure> {
        self.typist
            .chapter(
                6,
                "The way back",
                "Somebody does not like 1.1 after all. 1.0 lies unpacked on every host, so going back \
                 fetches nothing, and no approval stands in the way of it.",
            )
            .await?;
        let back = "rollout rollback shop --to harbour --reason \"too many lanterns\" --wait";
        self.typist.types(AUTHOR, back, Exit::Done).await?;
        self.count()
    }

    async fn another_world(&mut self, plan: &str) -> Result<(), Failure> {
        self.typist
            .chapter(
                7,
                "A plan is for one world",
                "The plan for 1.2 was made while 1.1 was live. It is not any more, so what was approved \
                 is not what would happen now. Starting it is refused, and says what has moved.",
            )
            .await?;
        self.typist.types(AUTHOR, &format!("rollout start {plan}"), Exit::Refused).await
    }

    async fn the_record(&mut self) -> Result<(), Failure> {
        self.typist
            .chapter(
                8,
                "The record",
                "Who did what, and what was refused. Each entry holds the digest of the one before, and \
                 hosts keep what the controller has signed of it.",
            )
            .await?;
        self.typist.types(AUTHOR, "audit list -n 12", Exit::Done).await
    }

    async fn publish(&mut self, release: Release) -> Result<(), Failure> {
        let (sources, port) = (self.world.folder.join("shop"), self.world.port);
        let write = move || -> std::io::Result<()> {
            create_dir_durable(&sources, 0o755).map_err(std::io::Error::other)?;
            write_release(&sources, release, port).map(drop)
        };
        let written = tokio::task::spawn_blocking(write).await.map_err(|error| failed(&error))?;
        written.map_err(|error| failed(&error))?;
        let folder = Path::new("shop").join(format!("shop-{}", release.version()));
        self.typist.types(AUTHOR, &format!("release publish {}", folder.display()), Exit::Done).await
    }

    /// What customers saw meanwhile.
    fn count(&mut self) -> Result<(), Failure> {
        let line = counter_line(&self.customers.tally(), &self.stage.page());
        self.typist.remark(line)
    }

    async fn newest_plan(&self) -> Result<String, Failure> {
        let request = pb::ListPlansRequest { app: "shop".to_owned(), env: "harbour".to_owned(), limit: 1 };
        let reply = self.client.answer(Instant::now() + ANSWER, self.client.plans().list(request)).await?;
        let newest = reply.plans.first().ok_or_else(|| Failure::new(Exit::Failed, "no plan was kept"))?;
        Ok(newest.digest.parse::<PlanDigest>()?.short())
    }
}

fn approve(plan: &str, reason: &str) -> String {
    format!("rollout approve {plan} --reason \"{reason}\"")
}
