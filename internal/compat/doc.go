// Package compat compares `isthmus virtiofsd` with the virtiofsd that it stands
// in for. There is one table of command lines: those that launchers use, and those
// that are wrong in some way. Each says what virtiofsd 1.14.0 does, so the test
// is whole on a machine without one, and where we or another version do something
// else, with the reason. docs/virtiofsd-compatibility.md explains the reasons.
//
// Every virtiofsd that is found runs the table too: the C one of QEMU up to 7.2, a
// system's own, and those that the environment variable ISTHMUS_VIRTIOFSD lists,
// separated by colons.
package compat
