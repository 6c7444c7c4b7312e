//! What broker, nanny and worker say to each other: see `docs/protocol.md`, field by field.
#![forbid(unsafe_code)]

pub mod config;
pub mod counters;
pub mod frame;
pub mod lane;
pub mod reply;
pub mod request;
pub mod versions;
mod wire;

pub use config::{BrokerConfig, CONTROL_SOCKET, CellConfig, ConfigError, Method, ServiceConfig};
pub use counters::{COUNTERS, Counter};
pub use frame::{
    Assembler, FrameError, OneTimeKey, Packet, RequestId, decode_request, encode_request, hello,
    parse_packet, seal_reply,
};
pub use lane::{BrokerEnds, BrokerLane, Lane, LaneError, Lanes, RecvError, Sent, pipes};
pub use reply::{Failure, FailureClass, Granted, Membership, Reply};
pub use request::{GetToken, Member, Password, Request, Service};
