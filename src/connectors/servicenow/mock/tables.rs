//! The tables that every instance of the mock has, with the fields that a client meets first.

use super::catalogue::Kind;

/// One table. A table has the fields of the one that it inherits from, too.
#[derive(Debug)]
pub struct TableKind {
    pub name: &'static str,
    pub label: &'static str,
    pub parent: Option<&'static str>,
    pub fields: &'static [FieldKind],
    /// Before the running number in `number`.
    pub prefix: Option<&'static str>,
    /// The field that stands for a record where it is referred to.
    pub display: &'static str,
}

#[derive(Debug)]
pub struct FieldKind {
    pub name: &'static str,
    pub kind: Kind,
    pub length: usize,
    /// The table that it refers to.
    pub reference: Option<&'static str>,
    pub default: &'static str,
    /// Values with their labels.
    pub choices: &'static [(&'static str, &'static str)],
}

const fn field(name: &'static str, kind: Kind, length: usize) -> FieldKind {
    FieldKind { name, kind, length, reference: None, default: "", choices: &[] }
}

const fn text(name: &'static str, length: usize) -> FieldKind {
    field(name, Kind::Text, length)
}

const fn moment(name: &'static str) -> FieldKind {
    field(name, Kind::Moment, 40)
}

const fn flag(name: &'static str, default: &'static str) -> FieldKind {
    FieldKind { default, ..field(name, Kind::Boolean, 40) }
}

const fn reference(name: &'static str, table: &'static str) -> FieldKind {
    FieldKind { reference: Some(table), ..field(name, Kind::Reference, 32) }
}

const fn choice(
    name: &'static str,
    default: &'static str,
    choices: &'static [(&'static str, &'static str)],
) -> FieldKind {
    FieldKind { default, choices, ..field(name, Kind::Integer, 40) }
}

const LEVELS: &[(&str, &str)] = &[("1", "1 - High"), ("2", "2 - Medium"), ("3", "3 - Low")];
const PRIORITIES: &[(&str, &str)] = &[
    ("1", "1 - Critical"),
    ("2", "2 - High"),
    ("3", "3 - Moderate"),
    ("4", "4 - Low"),
    ("5", "5 - Planning"),
];
const STATES: &[(&str, &str)] = &[
    ("1", "New"),
    ("2", "In Progress"),
    ("3", "On Hold"),
    ("6", "Resolved"),
    ("7", "Closed"),
    ("8", "Canceled"),
];

/// Every row has these beside `sys_id`.
pub const SYSTEM: &[FieldKind] = &[
    field("sys_id", Kind::Id, 32),
    moment("sys_created_on"),
    text("sys_created_by", 40),
    moment("sys_updated_on"),
    text("sys_updated_by", 40),
    field("sys_mod_count", Kind::Integer, 40),
];

const PLAIN: TableKind =
    TableKind { name: "", label: "", parent: None, fields: &[], prefix: None, display: "sys_id" };

pub const TABLES: &[TableKind] = &[
    TableKind {
        name: "task",
        label: "Task",
        fields: &[
            text("number", 40),
            text("short_description", 160),
            text("description", 4_000),
            FieldKind { default: "1", ..choice("state", "1", STATES) },
            choice("priority", "4", PRIORITIES),
            choice("urgency", "3", LEVELS),
            choice("impact", "3", LEVELS),
            flag("active", "true"),
            moment("opened_at"),
            moment("closed_at"),
            moment("due_date"),
            reference("opened_by", "sys_user"),
            reference("assigned_to", "sys_user"),
            reference("assignment_group", "sys_user_group"),
            reference("company", "core_company"),
            reference("parent", "task"),
            text("correlation_id", 100),
            text("correlation_display", 100),
            text("contact_type", 40),
            text("comments", 4_000),
            text("work_notes", 4_000),
            text("close_notes", 4_000),
            text("sys_class_name", 80),
            text("sys_domain", 32),
        ],
        display: "number",
        prefix: Some("TASK"),
        ..PLAIN
    },
    TableKind {
        name: "incident",
        label: "Incident",
        parent: Some("task"),
        fields: &[
            reference("caller_id", "sys_user"),
            text("category", 40),
            text("subcategory", 40),
            choice("severity", "3", LEVELS),
            choice("incident_state", "1", STATES),
            text("close_code", 40),
            moment("resolved_at"),
            reference("resolved_by", "sys_user"),
            field("reopen_count", Kind::Integer, 40),
        ],
        display: "number",
        prefix: Some("INC"),
    },
    TableKind {
        name: "problem",
        label: "Problem",
        parent: Some("task"),
        display: "number",
        prefix: Some("PRB"),
        ..PLAIN
    },
    TableKind {
        name: "sys_user",
        label: "User",
        fields: &[
            text("user_name", 40),
            text("first_name", 50),
            text("last_name", 50),
            text("name", 151),
            field("email", Kind::Email, 100),
            text("phone", 40),
            text("mobile_phone", 40),
            text("title", 60),
            text("employee_number", 40),
            text("time_zone", 40),
            flag("active", "true"),
            reference("company", "core_company"),
            reference("manager", "sys_user"),
            text("correlation_id", 100),
            text("sys_class_name", 80),
        ],
        display: "name",
        ..PLAIN
    },
    TableKind {
        name: "sys_user_group",
        label: "Group",
        fields: &[
            text("name", 80),
            text("description", 1_000),
            field("email", Kind::Email, 100),
            flag("active", "true"),
        ],
        display: "name",
        ..PLAIN
    },
    TableKind {
        name: "core_company",
        label: "Company",
        fields: &[
            text("name", 80),
            text("phone", 40),
            text("website", 1_024),
            text("street", 255),
            text("city", 50),
            text("state", 40),
            text("zip", 40),
            text("country", 40),
            field("revenue", Kind::Decimal, 20),
            flag("customer", "false"),
            text("correlation_id", 100),
            text("sys_class_name", 80),
        ],
        display: "name",
        ..PLAIN
    },
    TableKind {
        name: "customer_account",
        label: "Account",
        parent: Some("core_company"),
        fields: &[
            text("number", 40),
            text("account_code", 100),
            reference("account_parent", "customer_account"),
        ],
        display: "name",
        prefix: Some("ACCT"),
    },
    TableKind {
        name: "customer_contact",
        label: "Contact",
        parent: Some("sys_user"),
        fields: &[reference("account", "customer_account")],
        display: "name",
        ..PLAIN
    },
    TableKind {
        name: "sys_audit_delete",
        label: "Audit Deleted Record",
        fields: &[
            text("tablename", 80),
            text("documentkey", 32),
            text("display_value", 255),
            text("payload", 65_000),
        ],
        display: "display_value",
        ..PLAIN
    },
    TableKind {
        name: "sys_db_object",
        label: "Table",
        fields: &[text("name", 80), text("label", 80), reference("super_class", "sys_db_object")],
        display: "label",
        ..PLAIN
    },
    TableKind {
        name: "sys_dictionary",
        label: "Dictionary Entry",
        fields: &[
            text("name", 80),
            text("element", 80),
            text("internal_type", 40),
            field("max_length", Kind::Integer, 40),
            text("reference", 80),
            text("column_label", 80),
        ],
        display: "element",
        ..PLAIN
    },
    TableKind {
        name: "sys_rate_limit_rules",
        label: "Rate Limit Rule",
        fields: &[text("name", 80), flag("active", "true"), field("limit_per_hour", Kind::Integer, 40)],
        display: "name",
        ..PLAIN
    },
];

/// Finds a table.
pub fn table_kind(name: &str) -> Option<&'static TableKind> {
    TABLES.iter().find(|table| table.name == name)
}
