//! The operating-system groups of a person: their roles, as long as no server vouches for better.
//!
//! They are looked up by the name, on the machine of the engine that takes the command. They never
//! come over the wire: whoever reaches the socket may claim a name, and a role no more than that.

use std::fs;

/// Groups of one person: what an event carries of them must stay small. Further ones are left out.
const GROUPS_MAX: usize = 64;

/// The names of a user's groups, the primary one first. Only `/etc/passwd` and `/etc/group` are read:
/// a directory service that does not answer must not stop a rollback.
pub(crate) fn of_user(name: &str) -> Vec<String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    groups_in(name, &read("/etc/passwd"), &read("/etc/group"))
}

fn groups_in(name: &str, passwd: &str, group: &str) -> Vec<String> {
    if name.is_empty() {
        return Vec::new();
    }
    let primary = passwd.lines().find_map(|line| match fields(line).as_slice() {
        [user, _, _, gid, ..] if *user == name => Some(*gid),
        _ => None,
    });
    let (mut first, mut others) = (Vec::new(), Vec::new());
    for line in group.lines() {
        let [group, _, gid, members] = fields(line)[..] else { continue };
        if Some(gid) == primary {
            first.push(group.to_owned());
        } else if members.split(',').any(|member| member == name) {
            others.push(group.to_owned());
        }
    }
    first.into_iter().chain(others).take(GROUPS_MAX).collect()
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nana:x:1000:100::/home/ana:/bin/sh\n";
    const GROUP: &str = "root:x:0:\ndba:x:7:ben,ana\nusers:x:100:\nsre:x:8:anabel\nbroken\n";

    #[test]
    fn a_member_has_the_primary_group_and_those_that_name_them() {
        assert_eq!(groups_in("ana", PASSWD, GROUP), ["users", "dba"]);
        assert_eq!(groups_in("ben", PASSWD, GROUP), ["dba"]);
    }

    #[test]
    fn nobody_is_a_member_by_a_part_of_a_name_or_by_none() {
        assert_eq!(groups_in("an", PASSWD, GROUP), [""; 0]);
        assert_eq!(groups_in("", PASSWD, GROUP), [""; 0]);
    }

    #[test]
    fn the_number_of_groups_has_a_limit() {
        let lines: Vec<String> = (0..100).map(|at| format!("g{at}:x:{at}:ben")).collect();
        let many = lines.join("\n");
        assert_eq!(groups_in("ben", "", &many).len(), GROUPS_MAX);
    }
}
