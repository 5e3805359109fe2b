//! Model servers that misbehave, and callers who leave: each fault of a server becomes an error with a code, or an honest
//! break, in time and in little memory; nobody gets another's answer; and no server works for one who has gone.

mod cases;
mod endings;
mod hang_ups;
mod memory;
mod mixed_up;
mod rogue;
mod strangers;
