//! The suite of [`Lease`]: one test or more for each guarantee.

use std::sync::Arc;
use std::time::Duration;

use super::{Backend, instance, name};
use crate::{Grant, Instance, Lease, LeaseError, Name};

/// Makes a `#[tokio::test]` of each test of this suite; the argument is the path of an async factory of a
/// [`Backend`].
#[macro_export]
macro_rules! lease_suite {
    ($make:path) => {
        $crate::suite_tests!(
            $make,
            lease,
            [
                g1_a_held_lease_is_refused_to_other_owners,
                g1_exactly_one_of_many_owners_acquires_it,
                g1_a_released_lease_is_free,
                g2_fences_rise_with_each_change_of_owner,
                g2_acquiring_again_keeps_the_fence,
                g2_expiry_gives_the_same_owner_a_new_fence,
                g3_a_grant_expires_exactly_at_its_time,
                g3_renewal_extends_a_grant,
                g3_a_lost_grant_cannot_be_renewed,
                g3_releasing_a_lost_grant_changes_nothing,
                g4_fences_rise_over_restarts,
                g4_a_grant_survives_a_restart,
                lease_names_and_instances_are_isolated,
            ]
        );
    };
}

const TTL: Duration = Duration::from_secs(10);

/// Leases with short calls.
struct Leases(Arc<dyn Lease>, Instance, Name);

impl Leases {
    fn of(backend: &impl Backend) -> Self {
        Self(backend.lease(), instance("a"), name("timer"))
    }

    async fn acquire(&self, owner: &str) -> Result<Grant, LeaseError> {
        self.0.acquire(&self.1, &self.2, owner, TTL).await
    }

    async fn acquire_free(&self, owner: &str) -> Grant {
        self.acquire(owner).await.expect("the lease is free")
    }

    async fn renew(&self, grant: &Grant) -> Result<Grant, LeaseError> {
        self.0.renew(&self.1, grant, TTL).await
    }

    async fn release(&self, grant: Grant) {
        self.0.release(&self.1, grant).await.expect("release works");
    }
}

/// Guarantee 1.
pub async fn g1_a_held_lease_is_refused_to_other_owners(backend: impl Backend) {
    let leases = Leases::of(&backend);
    let grant = leases.acquire_free("one").await;
    assert_eq!((grant.owner.as_str(), &grant.name), ("one", &leases.2));
    let refused = leases.acquire("two").await;
    let Err(LeaseError::Held { owner, until, name }) = refused else { panic!("got {refused:?}") };
    assert_eq!((owner.as_str(), until, name), ("one", grant.expires_at, grant.name));
}

/// Guarantee 1.
pub async fn g1_exactly_one_of_many_owners_acquires_it(backend: impl Backend) {
    for _ in 0..5 {
        let mut tasks = tokio::task::JoinSet::new();
        for owner in 0..32 {
            let leases = Leases::of(&backend);
            tasks.spawn(async move { leases.acquire(&owner.to_string()).await });
        }
        let outcomes = tasks.join_all().await;
        let winners: Vec<_> = outcomes.iter().flatten().collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        Leases::of(&backend).release(winners[0].clone()).await;
    }
}

/// Guarantee 1.
pub async fn g1_a_released_lease_is_free(backend: impl Backend) {
    let leases = Leases::of(&backend);
    let first = leases.acquire_free("one").await;
    leases.release(first.clone()).await;
    let lost = leases.renew(&first).await;
    assert!(matches!(lost, Err(LeaseError::Lost { .. })), "{lost:?}");
    assert!(leases.acquire_free("two").await.fence > first.fence);
}

/// Guarantee 2.
pub async fn g2_fences_rise_with_each_change_of_owner(backend: impl Backend) {
    let leases = Leases::of(&backend);
    let mut fences = Vec::new();
    for round in 0..10 {
        let grant = leases.acquire_free(&(round % 3).to_string()).await;
        fences.push(grant.fence);
        if round % 2 == 0 {
            leases.release(grant).await;
        } else {
            backend.advance(TTL);
        }
    }
    assert!(fences.is_sorted_by(|earlier, later| earlier < later), "{fences:?}");
}

/// Guarantee 2.
pub async fn g2_acquiring_again_keeps_the_fence(backend: impl Backend) {
    let leases = Leases::of(&backend);
    let first = leases.acquire_free("one").await;
    backend.advance(TTL / 2);
    let again = leases.acquire_free("one").await;
    assert_eq!(again.fence, first.fence);
    assert_eq!(again.expires_at, first.expires_at + TTL / 2, "acquiring again prolongs");
}

/// Guarantee 2: between its expiry and the next acquisition, another owner may have written.
pub async fn g2_expiry_gives_the_same_owner_a_new_fence(backend: impl Backend) {
    let leases = Leases::of(&backend);
    let first = leases.acquire_free("one").await;
    backend.advance(TTL);
    assert!(leases.acquire_free("one").await.fence > first.fence);
}

/// Guarantee 3.
pub async fn g3_a_grant_expires_exactly_at_its_time(backend: impl Backend) {
    let leases = Leases::of(&backend);
    let first = leases.acquire_free("one").await;
    backend.advance(TTL - Duration::from_millis(1));
    assert!(matches!(leases.acquire("two").await, Err(LeaseError::Held { .. })));
    backend.advance(Duration::from_millis(1));
    assert!(leases.acquire_free("two").await.fence > first.fence);
}

/// Guarantee 3.
pub async fn g3_renewal_extends_a_grant(backend: impl Backend) {
    let leases = Leases::of(&backend);
    let first = leases.acquire_free("one").await;
    backend.advance(TTL / 2);
    let renewed = leases.renew(&first).await.expect("the grant is held");
    assert_eq!((renewed.fence, renewed.expires_at), (first.fence, first.expires_at + TTL / 2));
    backend.advance(TTL - Duration::from_millis(1));
    assert!(matches!(leases.acquire("two").await, Err(LeaseError::Held { .. })));
    leases.renew(&first).await.expect("an older copy of the grant has the same fence");
}

/// Guarantee 3.
pub async fn g3_a_lost_grant_cannot_be_renewed(backend: impl Backend) {
    let leases = Leases::of(&backend);
    let first = leases.acquire_free("one").await;
    backend.advance(TTL);
    let expired = leases.renew(&first).await;
    assert!(matches!(expired, Err(LeaseError::Lost { .. })), "{expired:?}");
    leases.acquire_free("two").await;
    let taken = leases.renew(&first).await;
    assert!(matches!(taken, Err(LeaseError::Lost { .. })), "{taken:?}");
}

/// Guarantee 3.
pub async fn g3_releasing_a_lost_grant_changes_nothing(backend: impl Backend) {
    let leases = Leases::of(&backend);
    let first = leases.acquire_free("one").await;
    backend.advance(TTL);
    let second = leases.acquire_free("one").await;
    leases.release(first).await;
    let refused = leases.acquire("two").await;
    assert!(matches!(refused, Err(LeaseError::Held { .. })), "an old fence frees nothing: {refused:?}");
    leases.renew(&second).await.expect("the second grant is still held");
}

/// Guarantee 4: also if the lease was released, or had expired, before the restart.
pub async fn g4_fences_rise_over_restarts(mut backend: impl Backend) {
    let mut fences = Vec::new();
    for round in 0..6 {
        let grant = Leases::of(&backend).acquire_free("one").await;
        fences.push(grant.fence);
        if round % 2 == 0 {
            Leases::of(&backend).release(grant).await;
        }
        backend.reopen().await;
        backend.advance(TTL);
    }
    assert!(fences.is_sorted_by(|earlier, later| earlier < later), "{fences:?}");
}

/// Guarantees 1 and 4: an acknowledged owner still holds the lease.
pub async fn g4_a_grant_survives_a_restart(mut backend: impl Backend) {
    let first = Leases::of(&backend).acquire_free("one").await;
    let renewed = Leases::of(&backend).renew(&first).await.expect("the grant is held");
    backend.reopen().await;
    let refused = Leases::of(&backend).acquire("two").await;
    assert!(matches!(refused, Err(LeaseError::Held { .. })), "{refused:?}");
    Leases::of(&backend).renew(&renewed).await.expect("the grant is held");
}

/// See [`Instance`].
pub async fn lease_names_and_instances_are_isolated(backend: impl Backend) {
    let homes = [("a", "x"), ("a", "y"), ("b", "x")].map(|(i, n)| (instance(i), name(n)));
    for (round, (i, n)) in homes.into_iter().enumerate() {
        let leases = Leases(backend.lease(), i, n);
        leases.acquire_free(&round.to_string()).await;
    }
}
