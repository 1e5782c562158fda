// Package hermittest has a small Hermit guest and the tests that run it in machines of
// `isthmus run`.
//
// The guest is a freestanding program in C, testdata/guest, that speaks all versions of
// the interface between Hermit and uhyve. It is many programs in one: the first of the
// application's words says which. A program checks what the machine does from the
// guest's side, to the byte, prints a line for what is not as it has to be, and ends with
// code 0 or what code=N asks for.
//
// It uses general registers only, no floating point and no breakpoints, so that it also
// runs where KVM is software that interprets each instruction.
//
// The tests need a KVM. They take their own along: an emulated PC whose processor has
// virtualisation (see internal/lab). With ISTHMUS_KVM=1 they use this machine's.
package hermittest
