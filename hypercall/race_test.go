//go:build race

package hypercall

// raceEnabled says that the race detector is on, under which pools forget what
// they hold now and then.
const raceEnabled = true
