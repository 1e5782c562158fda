// Package sandbox closes a process in, so that somebody who takes it over by way
// of hostile input reaches the files of one share and nothing else of the host.
//
// # Layers
//
// Each stands for itself; an attacker has to break all that cover a thing.
//
//   - Namespaces: mount, pid, network, IPC and host name, and for a process without
//     privileges a user namespace. The share becomes the root directory, with
//     nodev, nosuid and nosymfollow, and read-only if it is shared so. There
//     is no /proc but a descriptor of /proc/self/fd, cut off from the rest of it.
//   - Capabilities: only those that serving files takes, in every set of every thread.
//   - no_new_privs.
//   - Landlock: no network, no signals or abstract sockets to outside, nothing executed
//     and no device ioctl; and where nodes are held by descriptors rather than by file
//     handles, no file outside the share.
//   - seccomp: an allow-list of system calls for all threads.
//
// # Way through it
//
// A Go process has threads from the start, and namespaces can only be entered by
// a process with one. So the process starts itself again: [Start] runs this very
// program with the same arguments in new namespaces and hands over files; there,
// [Inherited] returns them. Whichever process serves then calls [Enter], which
// changes the root, and [Lock], which takes away all rights not needed any more.
//
//	outer                              inner
//	parse, listen, Start(cfg, socket)  parse, Inherited() → socket
//	wait for Ready, pass signals on    Enter(cfg), Lock(cfg), open the share
//	Wait, exit with its status         Ready(), serve
//
// With [ModeChroot] and [ModeNone] there is one process, which calls Enter and Lock.
//
// # Machines
//
// A process that runs a virtual machine itself stays where it is, on its terminal and in
// its directory. [LockMachine] takes from it all that a running machine does not
// need, and [MachineConfig.LockThread] from each thread what its [Role] does not:
//
//	open KVM, TAP, output, images; make the machine
//	LockMachine(cfg)
//	open the shares
//	on each thread: runtime.LockOSThread(), pin, cfg.LockThread(role), run
//
// # Building
//
// Rights of the kernel are those of a thread, and Go can change those of all its threads
// only in a program without cgo (CGO_ENABLED=0). Start, Lock and LockMachine fail in others.
//
// # Concurrency
//
// Start, Inherited, Enter, Lock and LockMachine are for the start of a program: each is
// called once, by one goroutine, and has effect on the whole process. LockThread has
// effect on the calling thread, and several may call it at once.
package sandbox
