// Package house holds the tests that keep the shape of the code: which package
// may import which, which modules are depended on, where unsafe may stand.
package house
