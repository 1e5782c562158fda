// Package vfstest is the conformance suite for implementations of
// [vfs.FileSystem].
//
// # How it judges
//
// [Run] acts as a guest kernel would: a session walks paths by Lookup, keeps
// count of its references and turns each operation into calls of the file
// system. The same operation is made by plain system calls in [Subject.Twin], a
// directory of the host. Both must give the same errno, the same data and the
// same attributes; after each scenario both trees must be the same, seen through
// the file system, through the twin, and, if [Subject.Dir] names it, in the
// directory behind the file system. So the host's kernel says what is right, and
// the suite holds no list of expected results that could be wrong: where a
// scenario names an errno it is the host that must return it, which shows that
// the scenario tests what it means to.
//
// Only what a file system itself decides is compared. Path walking, symbolic
// links in the middle of a path and permission checks belong to the guest's
// kernel, and the session does them before it calls.
//
// What has no counterpart on a host is checked against the text of package vfs:
// references, forged ids, Nowait, listings in small pieces, lock owners.
//
// # How to use it
//
// A file system's test calls Run once for each configuration worth testing:
//
//	func TestConformance(t *testing.T) {
//		vfstest.Run(t, func(t *testing.T) vfstest.Subject {
//			dir := t.TempDir()
//			fs := newMyFS(t, dir)
//			return vfstest.Subject{FS: fs, Dir: dir, Twin: t.TempDir()}
//		})
//	}
//
// The suite needs root: it makes device nodes, changes owners and acts as other
// users. It sets the umask of the process to zero while it runs, so tests that
// use it are not run in parallel with others.
package vfstest
