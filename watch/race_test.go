//go:build race

package watch_test

// raceEnabled says that the race detector is on, under which pools forget what
// they hold now and then.
const raceEnabled = true
