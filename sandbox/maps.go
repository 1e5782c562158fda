package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/moby/sys/user"
)

// maxExtents is how many lines an id map may have (user_namespaces(7)).
const maxExtents = 340

// ParseIDMap reads virtiofsd's notation of one extent, ":inside:outside:count:". The
// first character, which may not be a letter or a digit, separates the numbers
// and stands at the end too.
func ParseIDMap(spec string) (IDMap, error) {
	fail := func(why string) (IDMap, error) {
		return IDMap{}, fmt.Errorf("id map %q: %s; write :inside:outside:count:", spec, why)
	}
	delim, size := utf8.DecodeRuneInString(spec)
	switch {
	case spec == "":
		return fail("it is empty")
	case delim == utf8.RuneError, unicode.IsLetter(delim), unicode.IsDigit(delim):
		return fail("it does not begin with a separator")
	case len(spec) < 2*size || !strings.HasSuffix(spec, string(delim)):
		return fail("it does not end with the separator that it begins with")
	}
	fields := strings.Split(spec[size:len(spec)-size], string(delim))
	if len(fields) != 3 {
		return fail(fmt.Sprintf("it has %d numbers rather than 3", len(fields)))
	}
	var n [3]uint32
	for i, f := range fields {
		v, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return fail(fmt.Sprintf("%q is not a number of 32 bits", f))
		}
		n[i] = uint32(v)
	}
	m := IDMap{Inside: n[0], Outside: n[1], Count: n[2]}
	if err := m.check(); err != nil {
		return fail(err.Error())
	}
	return m, nil
}

// String is the extent as it stands in /proc/PID/uid_map.
func (m IDMap) String() string { return fmt.Sprintf("%d %d %d", m.Inside, m.Outside, m.Count) }

// check refuses what the kernel would. The highest number is no id.
func (m IDMap) check() error {
	if m.Count == 0 {
		return errors.New("the count is 0")
	}
	if m.Count > math.MaxUint32-m.Inside || m.Count > math.MaxUint32-m.Outside {
		return errors.New("it goes past the highest id, 4294967294")
	}
	return nil
}

// checkMap checks that a map can be: extents that exist and share no id on
// either side.
func checkMap(kind string, m []IDMap) error {
	if len(m) > maxExtents {
		return fmt.Errorf("%s map: %d extents are more than the %d that the kernel takes", kind, len(m), maxExtents)
	}
	for _, e := range m {
		if err := e.check(); err != nil {
			return fmt.Errorf("%s map %q: %w", kind, e, err)
		}
	}
	for _, side := range []struct {
		name  string
		start func(IDMap) uint32
	}{
		{"inside", func(e IDMap) uint32 { return e.Inside }},
		{"outside", func(e IDMap) uint32 { return e.Outside }},
	} {
		sorted := slices.SortedFunc(slices.Values(m), func(a, b IDMap) int { return cmp.Compare(side.start(a), side.start(b)) })
		for i := 1; i < len(sorted); i++ {
			if prev := sorted[i-1]; side.start(sorted[i])-side.start(prev) < prev.Count {
				return fmt.Errorf("%s map: the extents %q and %q overlap %s", kind, prev, sorted[i], side.name)
			}
		}
	}
	return nil
}

// mapsID tells whether an id exists inside.
func mapsID(m []IDMap, id uint32) bool {
	return slices.ContainsFunc(m, func(e IDMap) bool { return id >= e.Inside && id-e.Inside < e.Count })
}

// Files with the ranges of ids that users may map (subuid(5), subgid(5)).
const (
	subuidFile = "/etc/subuid"
	subgidFile = "/etc/subgid"
)

// SubordinateMaps are the maps that make a namespace of an ordinary user whole:
// 0 inside is the user that runs this, and 1 and on are the ranges that /etc/subuid
// and /etc/subgid give that user, by name or by number.
func SubordinateMaps() (uids, gids []IDMap, err error) {
	if uids, err = subordinateMap(subuidFile, os.Geteuid()); err != nil {
		return nil, nil, err
	}
	if gids, err = subordinateMap(subgidFile, os.Getegid()); err != nil {
		return nil, nil, err
	}
	return uids, gids, nil
}

// subordinateMap makes the map of one kind of ids, own being this process's. Both
// files go by the user.
func subordinateMap(file string, own int) ([]IDMap, error) {
	number := strconv.Itoa(os.Getuid())
	name := number
	if u, err := user.CurrentUser(); err == nil {
		name = u.Name
	}
	ranges, err := user.ParseSubIDFileFilter(file, func(r user.SubID) bool { return r.Name == name || r.Name == number })
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(ranges) == 0 {
		return nil, fmt.Errorf("%s has no range of ids for the user %s; give one, as with usermod --add-subuids and --add-subgids", file, name)
	}
	m := []IDMap{{Inside: 0, Outside: uint32(own), Count: 1}}
	next := int64(1)
	for _, r := range ranges {
		count := min(r.Count, math.MaxUint32-next)
		if r.SubID < 0 || r.SubID > math.MaxUint32 || count <= 0 {
			return nil, fmt.Errorf("%s: the range %d:%d of the user %s cannot be", file, r.SubID, r.Count, name)
		}
		m = append(m, IDMap{Inside: uint32(next), Outside: uint32(r.SubID), Count: uint32(count)})
		next += count
	}
	if err := checkMap("id", m); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}
