//! The fields of images that are read without looking at their schema again: of the usual kinds, told once. Pure.

use crate::avro::schema::{Field, Node};
use crate::how::{How, Unit};
use crate::plan::Plan;

/// How a field of a usual kind is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where the field may be of another kind: the byte that stands before its values.
    pub(crate) union: Option<Union>,
    pub(crate) usual: Usual,
}

/// What stands before a value of a union: the zigzag varint of its branch, as long as that is one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Union {
    pub(crate) value: u8,
    /// Before NULL, which has no bytes of its own.
    pub(crate) null: Option<u8>,
}

/// A usual kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usual {
    Int,
    Days,
    /// A timestamp in microseconds.
    Micros,
    Text,
    /// Bytes of that scale.
    Decimal(i32),
}

impl Step {
    /// How a field of this schema is read, where that is usual.
    pub(crate) fn of(node: &Node, how: &How) -> Option<Self> {
        match node {
            Node::Union(branches) => {
                let byte = |branch: usize| u8::try_from(branch).ok().filter(|b| *b < 64).map(|b| b << 1);
                let (at, usual) = branches.iter().enumerate().find_map(|(at, node)| Some((at, usual(node, how)?)))?;
                let null = branches.iter().position(|node| matches!(node, Node::Null)).and_then(byte);
                Some(Self { union: Some(Union { value: byte(at)?, null }), usual })
            }
            node => Some(Self { union: None, usual: usual(node, how)? }),
        }
    }
}

fn usual(node: &Node, how: &How) -> Option<Usual> {
    Some(match (node, how) {
        (Node::Int, How::Int) => Usual::Int,
        (Node::Int, How::Days) => Usual::Days,
        (Node::Int, How::Timestamp(Unit::Micros)) => Usual::Micros,
        (Node::Text, How::Text) => Usual::Text,
        (Node::Bytes, How::Decimal(scale)) => Usual::Decimal(*scale),
        _ => return None,
    })
}

/// Tells of each field of a plan how it is read, where that is usual. The plan was made of that record.
pub(crate) fn tell(plan: &mut Plan, record: &[Field]) {
    for (planned, field) in plan.fields.iter_mut().zip(record) {
        planned.step = Step::of(&field.node, &planned.how);
    }
}
