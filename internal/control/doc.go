// Package control is how the owner of a daemon speaks to it while it runs: what is
// mounted, what is open, how fast it is, and mounts that come and go. It is the
// protocol, its server and its client, and knows nothing of file systems: the
// daemon answers as a [Target].
//
// # Protocol
//
// A connection is a UNIX stream socket. Each request and each answer is a JSON
// object on a line of its own, ended by a newline (U+000A):
//
//	{"id":1,"method":"remove","params":{"path":"/data"}}
//	{"id":1,"result":{}}
//	{"id":2,"method":"remove","params":{"path":"/none"}}
//	{"id":2,"error":{"code":"not-found","message":"nothing is mounted at /none"}}
//
// Requests of a connection are answered one after the other. id is a number of the
// client's choice, 0 if it has none; params may be left out where a method needs none.
// A name that the method does not know is an error, never ignored.
//
// Strings that are not UTF-8, as paths can be, are {"base64":"…"}; see [Text].
//
// # Descriptors
//
// A request may bring open files with it (SCM_RIGHTS). It says how many with
// "files":N, at most [MaxFiles], and they come with the bytes of its line. What comes
// without being announced is closed. A client that sends files waits for the answer
// before it sends the next request.
//
// # When things go wrong
//
// An [Error] answers a request that cannot be done; the connection goes on. After a
// line that is no request (not JSON, unknown names beside params, more than
// [MaxRequest] bytes, descriptors that were lost) nobody can know what belongs to
// what: the answer has id 0 and code [CodeMalformed], and the connection is closed.
//
// # Trust
//
// Who may connect may do all that the protocol can. The socket therefore has mode 0600,
// as vhostuser.Listen makes it; no more is asked about a peer. Its mistakes are
// bounded all the same: connections, sizes, descriptors, and the time for which an
// answer may stay unread.
//
// A client trusts the daemon's answers no further than that: they are bounded
// too, and numbers in them are checked where something is computed from them. The process
// that serves guests may be one that a guest has taken over.
//
// # Concurrency
//
// [Serve] calls its Target from several goroutines at once. A [Client] may be used
// from several goroutines; its calls wait for each other.
package control
