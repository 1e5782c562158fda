// Package audit writes the access log of a share: a line of JSON for each call that a
// guest makes. docs/audit.md says for its readers what is in a line.
//
// A [Log] takes records from the goroutines that serve guests, which must not wait for
// a disk. So it copies them to a queue, of two halves: one is filled while a goroutine
// makes lines of the other and writes them, all that came within some milliseconds in
// one write(2). What finds the queue full is dropped and counted, and so is what cannot
// be written; a line in the log says how many are missing, where they are missing.
//
// Nothing but whole lines is written at once, to a file that is open for appending. So
// it may be truncated at any time, as logrotate does with "copytruncate". If a disk is
// full in the middle of a line, what is missing of it comes first when there is room
// again.
//
// # Trust
//
// Paths and names come from guests. In a line they are strings of JSON without any
// character that changes the meaning of the line or does something to a terminal that
// shows it; see [appendText]. A guest that makes many calls at once can have records
// dropped, but not unnoticed.
package audit
