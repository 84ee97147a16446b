//! Which of the certificates of a key its holder acts under. Decides only.
//!
//! A person may hold several: from the roots and passed on, old ones and renewed ones, a wide one and one for a place.
//! What is signed names one of them, so that every host judges by the same. The choice is a function of what is known
//! and of what is wanted, and gives nobody anything: what it chooses is judged like any other. If none allows what is
//! wanted, it is the one that comes closest, so that the refusal names what is missing and not how it was looked for.

use std::cmp::Reverse;

use super::{ANY, Authority, Certificate, Host, Refusal, Verb};
use crate::{
    identity::{EntryId, HostId, Operator, PublicKey},
    time::Timestamp,
};

/// What a holder wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// What.
    pub verb: Verb,
    /// As whom, where that matters.
    pub run_as: Option<&'a str>,
    /// On which hosts, where that matters: as many of them as may be have to be covered.
    pub on: &'a [&'a Host],
    /// The tags that are set, or taken off where there is no value.
    pub tags: &'a [(&'a str, Option<&'a str>)],
    /// When.
    pub at: Timestamp,
}

impl Want<'_> {
    /// Something that is not about hosts.
    pub fn of(verb: Verb, at: Timestamp) -> Self {
        Self { verb, run_as: None, on: &[], tags: &[], at }
    }

    fn allowed_tags(&self, certificate: &Certificate) -> bool {
        self.tags.iter().all(|(key, value)| match value {
            Some(value) => certificate.may_tag(key, value),
            None => certificate.may_untag(key),
        })
    }

    fn fits(&self, certificate: &Certificate) -> bool {
        certificate.hosts_max.is_none_or(|most| u32::try_from(self.on.len()).is_ok_and(|hosts| hosts <= most))
    }
}

impl Authority {
    /// The certificate that `key` would do that under; none if it holds none. Of several that allow it, one that
    /// needs the fewest approvals, then one that the roots gave, then the one that lasts longest.
    pub fn suited(&self, key: PublicKey<Operator>, want: &Want<'_>) -> Option<EntryId> {
        let theirs = self.certificates.of_key(key);
        let best = theirs.max_by_key(|(id, certificate, stopped)| {
            let scopes = self.certificates.scopes(id).unwrap_or_default();
            let covered =
                want.on.iter().filter(|host| scopes.iter().all(|scope| scope.selects(**host))).count();
            (
                !stopped,
                certificate.valid_at(want.at),
                certificate.verbs.contains(&want.verb),
                want.run_as.is_none_or(|user| certificate.may_run_as(user)),
                want.allowed_tags(certificate),
                covered,
                want.fits(certificate),
                Reverse(certificate.approvals),
                self.certificates.from(id).is_none(),
                certificate.not_after,
                **id,
            )
        });
        best.map(|(id, ..)| *id)
    }

    /// The certificate that `key` goes by where nothing is wanted: one that is in force before one that is not,
    /// then the one that lasts longest.
    pub fn goes_by(&self, key: PublicKey<Operator>) -> Option<(EntryId, &Certificate)> {
        let theirs = self.certificates.of_key(key);
        let best = theirs.max_by_key(|(id, certificate, stopped)| {
            (!stopped, self.certificates.from(id).is_none(), certificate.not_after, **id)
        });
        best.map(|(id, certificate, _)| (*id, certificate))
    }

    /// Whether a holder may read output of orders that a host keeps. Who issued the order needs no right to read.
    ///
    /// # Errors
    /// [`Refusal`] names what does not hold.
    pub fn may_read(
        &self,
        id: &EntryId,
        key: PublicKey<Operator>,
        is_issuer: bool,
        host: &HostId,
        signed: Timestamp,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let certificate = self.certificate_of(id, key)?;
        let person = || certificate.person.clone();
        if !certificate.valid_at(signed) || now > certificate.not_after {
            return Err(Refusal::CertificateExpired { person: person() });
        }
        if !certificate.allows(Verb::Read) && !is_issuer {
            return Err(Refusal::VerbNotGranted { person: person(), verb: Verb::Read.word() });
        }
        if self.host(host).is_some_and(|host| self.covers(id, host)) {
            return Ok(());
        }
        Err(Refusal::OutOfScope { person: person(), scope: certificate.scope.clone() })
    }

    /// Why something under a certificate is refused, with what the certificate would allow where that is what is in the
    /// way: what a host answers, and what is foreseen.
    pub fn in_full(&self, refusal: &Refusal, id: &EntryId) -> String {
        let about_the_certificate = matches!(
            refusal,
            Refusal::CertificateExpired { .. }
                | Refusal::VerbNotGranted { .. }
                | Refusal::RunAsNotGranted { .. }
                | Refusal::TooManyHosts { .. }
                | Refusal::OutOfScope { .. }
        );
        match self.allowance(id).filter(|_| about_the_certificate) {
            Some(allowance) => format!("{refusal}; it allows {allowance}"),
            None => refusal.to_string(),
        }
    }

    /// What a certificate allows, in words: `run, read on tag.role = web as deploy, at most 5 hosts`. Of one that was
    /// passed on with where both hold.
    pub fn allowance(&self, id: &EntryId) -> Option<String> {
        let (_, held, _) = self.certificates.held(id)?;
        let verbs: Vec<&str> = held.verbs.iter().map(|verb| verb.word()).collect();
        let verbs = if verbs.is_empty() { "nothing".to_owned() } else { verbs.join(", ") };
        let mut scopes: Vec<String> =
            self.certificates.scopes(id)?.iter().map(|scope| scope.text().to_owned()).collect();
        scopes.dedup();
        if scopes.len() > 1 {
            scopes.retain(|scope| scope != "all");
        }
        let mut words = format!("{verbs} on {}", scopes.join(" where also "));
        if held.verbs.contains(&Verb::Run) || held.verbs.contains(&Verb::Session) {
            let users: Vec<&str> =
                held.run_as.iter().map(|user| if user == ANY { "any user" } else { user }).collect();
            let users = if users.is_empty() { "nobody".to_owned() } else { users.join(", ") };
            words.extend([" as ", &users]);
        }
        match held.hosts_max {
            Some(1) => words.push_str(", 1 host an order"),
            Some(most) => words.extend([", at most ", &most.to_string(), " hosts an order"]),
            None => {}
        }
        Some(words)
    }

    /// Whether a certificate covers a host: its scope, and that of the one that it was passed on from.
    pub fn covers(&self, certificate: &EntryId, host: &Host) -> bool {
        let scopes = self.certificates.scopes(certificate);
        scopes.is_some_and(|scopes| scopes.iter().all(|scope| scope.selects(host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::sample::{Fleet, NOW, certificate, key, later};

    #[test]
    fn of_several_certificates_the_one_is_found_that_allows_what_is_asked() {
        let (ana, bo) = (key(1), key(2));
        let wide = certificate("ana", &ana);
        let only_run = Certificate { verbs: vec![Verb::Run], ..certificate("bo", &bo) };
        let (fleet, under) = Fleet::with(&[wide.clone(), only_run]);
        let mut authority = Authority::new(fleet.chain.clone());
        let given = |change: &dyn Fn(&mut Certificate)| {
            let mut given = Certificate { verbs: vec![Verb::Run], ..certificate("bo", &bo) };
            change(&mut given);
            fleet.grant(&ana, under[0], given)
        };
        let deploy = given(&|given| {
            given.run_as = vec!["deploy".to_owned()];
            given.scope = "tag.role = web".to_owned();
            given.not_after = later(5);
        });
        let tagger = given(&|given| given.verbs = vec![Verb::Tag]);
        let absorbed = [&deploy, &tagger].map(|grant| authority.absorb_grant(grant.clone()).is_ok());
        assert_eq!(absorbed, [true; 2]);
        let suited = |authority: &Authority, want: Want<'_>| authority.suited(bo.public(), &want);
        // Of two that allow it, that of the roots.
        assert_eq!(suited(&authority, Want::of(Verb::Run, NOW)), Some(under[1]));
        assert_eq!(suited(&authority, Want::of(Verb::Tag, NOW)), Some(tagger.id()));
        // None allows it: still one, and the refusal is for whoever judges.
        assert!(suited(&authority, Want::of(Verb::Invite, NOW)).is_some());
        assert_eq!(authority.suited(key(7).public(), &Want::of(Verb::Run, NOW)), None);
        let stop = fleet.suspend(
            &ana,
            under[0],
            crate::authority::Whom::Certificate { id: under[1] },
            crate::authority::Cut::default(),
        );
        authority.absorb_suspension(stop).unwrap();
        assert_eq!(suited(&authority, Want::of(Verb::Run, NOW)), Some(deploy.id()));
        assert_eq!(authority.goes_by(bo.public()).map(|(id, _)| id), Some(tagger.id()));
    }
}
