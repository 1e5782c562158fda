// Package rules holds what the owner of a share decides about it, whatever file
// system is behind: that it is read-only, that nothing in it can be executed, whose
// ids stand for whose, and which extended attributes go by which names. Each rule is a
// [vfs.FileSystem] around another, so rules can be combined and apply to every source
// and every door.
//
//	fs = rules.MapXattrs(fs, xattrs)        // innermost: sees host names
//	fs = rules.TranslateIDs(fs, uids, gids)
//	fs = rules.Restrict(fs, restrictions)   // sees the guest's names
//	fs = rules.ReadOnly(fs)                 // outermost: nothing passes it
//
// What the file system behind may be beside that ([vfs.Counter], [vfs.Backer],
// [vfs.Tolerant]), a rule is too. Files have no backing where a rule is to see what is
// written to them.
//
// # Trust
//
// What comes from the guest (names, ids, flags) is hostile; the rules themselves
// come from the owner and are checked when they are parsed, where a mistake is an
// error with the place and the reason. A guest cannot make a rule fail open: an
// id or a name that no rule covers is passed on unchanged or refused, as the rule's
// grammar says.
//
// # Concurrency
//
// As [vfs.FileSystem]: any number of goroutines. A rule keeps no state that a
// request changes; it allocates nothing on the way of a request. A request's
// [vfs.Request] belongs to the door and is not changed: the file system behind
// gets a copy where it must see other ids or names. The maps are made before
// they are used and do not change after that.
//
// # Waiting
//
// A rule that makes several calls for one passes each the request's Nowait. If a
// later one answers [vfs.WouldBlock], what the earlier ones did is undone or
// does no harm when it is done again.
//
// # Grammars
//
// Those of virtiofsd: --xattrmap ([ParseXattrMap]), --translate-uid and
// --translate-gid ([IDMap.Add]).
package rules
