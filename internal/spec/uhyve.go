package spec

import (
	"path"
	"strings"
)

const mappingForm = "HOST[:GUEST[:ro]]"

// ParseUhyveMapping reads one value of uhyve's --file-mapping; the package's text
// says by which rules. Errors are [*Error].
func ParseUhyveMapping(s string) (Mount, error) {
	m := Mount{Pos: Pos{Name: "file-mapping " + quote(s)}}
	if why := readMapping(&m, splitMapping(s)); why != "" {
		return Mount{}, &Error{m.Pos, why}
	}
	return m, nil
}

func readMapping(m *Mount, fields []string) (why string) {
	switch {
	case len(fields) > 3:
		return "it has more than three parts: want " + mappingForm + `, and \: for a : in a path`
	case len(fields) == 3 && fields[2] != "ro":
		return "the third part is " + quote(fields[2]) + ": want ro, or " + mappingForm
	case fields[0] == "":
		return "the host's path is empty: want " + mappingForm
	case len(fields) > 1 && fields[1] == "":
		return "the guest's path is empty: want " + mappingForm
	}
	host, guest := fields[0], fields[0]
	if len(fields) > 1 {
		guest = fields[1]
	}
	if !staysInside(guest) {
		return "the guest's path " + quote(guest) + " leads out of the root: want " + mappingForm + " with one that does not"
	}
	r := newReader(mountForm, m)
	for _, said := range [...]struct{ word, value string }{
		{"source", host},
		{"target", path.Clean("/" + guest)},
	} {
		if why := r.say(said.word, mountForm.words[said.word], m.Pos, said.value); why != "" {
			return why
		}
	}
	if len(fields) == 3 {
		m.ReadOnly = true
	} else {
		remove := UnlinkDelete
		m.Unlink = &remove
	}
	_, why = finish(&r, m.Pos)
	return why
}

// splitMapping divides a mapping at each : that no \ stands before. As most
// names that exist hold no escapes, any other \ stands for itself.
func splitMapping(s string) (fields []string) {
	var field strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == ':':
			fields = append(fields, field.String())
			field.Reset()
			continue
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ':' || s[i+1] == '\\'):
			i++
		}
		field.WriteByte(s[i])
	}
	return append(fields, field.String())
}

// staysInside tells whether .. in a path, taken as text, never leads out of its
// root.
func staysInside(p string) bool {
	depth := 0
	for part := range strings.SplitSeq(p, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return false
			}
		default:
			depth++
		}
	}
	return true
}
