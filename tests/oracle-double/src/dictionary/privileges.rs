//! Who may do what, and the views that tell.

use super::{Catalog, FLAG, NAME, Rows, Scope, Single, View, object_name, text};
use crate::model::User;
use crate::store::State;
use crate::types::Value;

/// The system privileges of a user, those of its roles among them.
fn system(user: &User) -> Vec<&str> {
    let mut all: Vec<&str> = user.system.iter().map(String::as_str).collect();
    for role in roles(user) {
        all.extend(match role {
            "CONNECT" => &["CREATE SESSION", "SET CONTAINER"][..],
            "DBA" => &["CREATE SESSION", "SELECT ANY TABLE", "SELECT ANY DICTIONARY", "FLASHBACK ANY TABLE"],
            _ => &[],
        });
    }
    let mut seen = Vec::new();
    all.retain(|p| {
        !seen.contains(p) && {
            seen.push(*p);
            true
        }
    });
    all
}

/// The roles of a user, those that come with others among them.
fn roles(user: &User) -> Vec<&str> {
    let mut all: Vec<&str> = user.roles.iter().map(String::as_str).collect();
    if all.contains(&"DBA") {
        all.push("SELECT_CATALOG_ROLE");
    }
    all
}

fn granted(user: &User, privileges: &[&str], owner: &str, object: &str) -> bool {
    user.objects.iter().any(|(p, o, name)| privileges.contains(&p.as_str()) && o == owner && name == object)
}

/// Whether a user may log in.
pub(crate) fn may_connect(user: &User) -> bool {
    system(user).contains(&"CREATE SESSION")
}

/// Whether a user may read a table.
pub(crate) fn may_select(state: &State, user: &str, owner: &str, table: &str) -> bool {
    let Some(user) = state.user(user) else { return false };
    let any = ["SELECT ANY TABLE", "READ ANY TABLE"];
    user.name == owner
        || granted(user, &["SELECT", "READ"], owner, table)
        || system(user).iter().any(|p| any.contains(p))
}

/// Whether a user may read a table as it was.
pub(crate) fn may_flash_back(state: &State, user: &str, owner: &str, table: &str) -> bool {
    let Some(user) = state.user(user) else { return false };
    user.name == owner || granted(user, &["FLASHBACK"], owner, table) || system(user).contains(&"FLASHBACK ANY TABLE")
}

/// Whether a user may read a view of the dictionary.
pub(crate) fn may_read(state: &State, user: &str, view: &View) -> bool {
    let Some(user) = state.user(user) else { return false };
    match view.scope {
        Scope::All | Scope::User | Scope::Public => true,
        Scope::Dba | Scope::Performance => {
            system(user).contains(&"SELECT ANY DICTIONARY")
                || roles(user).contains(&"SELECT_CATALOG_ROLE")
                || granted(user, &["SELECT", "READ"], "SYS", &object_name(view))
        }
    }
}

/// Whether a user may execute a package of SYS.
pub(crate) fn may_execute(state: &State, user: &str, package: &str) -> bool {
    state.user(user).is_some_and(|u| granted(u, &["EXECUTE"], "SYS", package) || roles(u).contains(&"DBA"))
}

pub(super) const VIEWS: &[Single] = &[
    ("SESSION_PRIVS", Scope::Public, &[("PRIVILEGE", NAME)], |catalog| {
        let user = catalog.state.user(&catalog.session.user);
        user.map(system).unwrap_or_default().into_iter().map(|p| vec![text(p)]).collect()
    }),
    ("SESSION_ROLES", Scope::Public, &[("ROLE", NAME)], |catalog| {
        let user = catalog.state.user(&catalog.session.user);
        user.map(roles).unwrap_or_default().into_iter().map(|r| vec![text(r)]).collect()
    }),
    ("USER_SYS_PRIVS", Scope::Public, &[("USERNAME", NAME), ("PRIVILEGE", NAME), ("ADMIN_OPTION", FLAG)], |catalog| {
        let Some(user) = catalog.state.user(&catalog.session.user) else { return Vec::new() };
        user.system.iter().map(|p| vec![text(&user.name), text(p), text("NO")]).collect()
    }),
    (
        "USER_ROLE_PRIVS",
        Scope::Public,
        &[("USERNAME", NAME), ("GRANTED_ROLE", NAME), ("ADMIN_OPTION", FLAG), ("DEFAULT_ROLE", FLAG)],
        |catalog| {
            let Some(user) = catalog.state.user(&catalog.session.user) else { return Vec::new() };
            user.roles.iter().map(|r| vec![text(&user.name), text(r), text("NO"), text("YES")]).collect()
        },
    ),
    ("ROLE_SYS_PRIVS", Scope::Public, &[("ROLE", NAME), ("PRIVILEGE", NAME), ("ADMIN_OPTION", FLAG)], |catalog| {
        let Some(user) = catalog.state.user(&catalog.session.user) else { return Vec::new() };
        let direct: Vec<&str> = user.system.iter().map(String::as_str).collect();
        let by_role = system(user).into_iter().filter(|p| !direct.contains(p));
        let role = user.roles.first().map_or("DBA", String::as_str);
        by_role.map(|p| vec![text(role), text(p), text("NO")]).collect()
    }),
    (
        "ROLE_TAB_PRIVS",
        Scope::Public,
        &[
            ("ROLE", NAME),
            ("OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("COLUMN_NAME", NAME),
            ("PRIVILEGE", NAME),
            ("GRANTABLE", FLAG),
        ],
        |_| Vec::new(),
    ),
    (
        "ALL_TAB_PRIVS",
        Scope::Public,
        &[
            ("GRANTOR", NAME),
            ("GRANTEE", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("PRIVILEGE", NAME),
            ("GRANTABLE", FLAG),
            ("HIERARCHY", FLAG),
        ],
        object_privileges,
    ),
    (
        "USER_TAB_PRIVS",
        Scope::Public,
        &[
            ("GRANTEE", NAME),
            ("OWNER", NAME),
            ("TABLE_NAME", NAME),
            ("GRANTOR", NAME),
            ("PRIVILEGE", NAME),
            ("GRANTABLE", FLAG),
            ("HIERARCHY", FLAG),
        ],
        |catalog| {
            let reordered = object_privileges(catalog).into_iter().map(|row| {
                let [grantor, grantee, owner, table, privilege, grantable, hierarchy] =
                    <[Value; 7]>::try_from(row).unwrap_or_else(|row| panic!("{row:?}"));
                vec![grantee, owner, table, grantor, privilege, grantable, hierarchy]
            });
            reordered.collect()
        },
    ),
];

/// Grants to the user or on its objects.
fn object_privileges(catalog: &Catalog<'_>) -> Rows {
    let me = &catalog.session.user;
    let mut all = Vec::new();
    for user in &catalog.state.model.users {
        for (privilege, owner, object) in &user.objects {
            if user.name == *me || owner == me {
                let names = [owner, &user.name, owner, object, privilege];
                let mut row: Vec<Value> = names.into_iter().map(|n| text(n)).collect();
                row.extend([text("NO"), text("NO")]);
                all.push(row);
            }
        }
    }
    all
}
