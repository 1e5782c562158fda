package runspec

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/isthmus-fs/isthmus/internal/spec"
)

// document is a configuration file while it is read.
type document struct {
	doc      []byte
	name     string
	to       *build
	problems []error
	parser   unstable.Parser

	// The bytes up to counted end at the place at.
	counted int
	at      spec.Pos
}

// readTOML tells b what a file says; name stands for it in errors. All mistakes are told.
func (b *build) readTOML(doc []byte, name string) []error {
	d := document{doc: doc, name: name, to: b}
	if err := d.checkSyntax(); err != nil {
		return []error{err}
	}
	d.read()
	return d.problems
}

// checkSyntax has the whole file decoded, which finds all that is no TOML, such as a key
// that is there twice.
func (d *document) checkSyntax() error {
	var all map[string]any
	err := toml.Unmarshal(d.doc, &all)
	if err == nil {
		return nil
	}
	pos := spec.Pos{Name: d.name}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := e.Position()
		lines := bytes.SplitAfterN(d.doc, []byte{'\n'}, line)
		start := len(d.doc) - len(lines[len(lines)-1])
		pos = d.pos(min(start+max(column-1, 0), len(d.doc)))
	}
	return &spec.Error{Pos: pos, Text: strings.TrimPrefix(err.Error(), "toml: ")}
}

// pos is the place of a byte. Places are asked for mostly in their order, so it goes on
// where it was.
func (d *document) pos(offset int) spec.Pos {
	if offset < d.counted || d.at.Line == 0 {
		d.counted, d.at = 0, spec.Pos{Name: d.name, Line: 1, Column: 1}
	}
	for _, line := range bytes.SplitAfter(d.doc[d.counted:offset], []byte{'\n'}) {
		d.at.Column += utf8.RuneCount(line)
		if bytes.HasSuffix(line, []byte{'\n'}) {
			d.at.Line++
			d.at.Column = 1
		}
	}
	d.counted = offset
	return d.at
}

func (d *document) problem(offset int, text string) {
	d.problems = append(d.problems, &spec.Error{Pos: d.pos(offset), Text: text})
}

// read goes through the file's expressions.
func (d *document) read() {
	var table []string
	known := true // what is in a table that is a mistake itself needs no word
	d.parser.Reset(d.doc)
	for d.parser.NextExpression() {
		switch e := d.parser.Expression(); e.Kind {
		case unstable.KeyValue:
			if known {
				d.entry(table, e)
			}
		case unstable.Table, unstable.ArrayTable:
			at, words := path(e)
			why := noTable(words, e.Kind == unstable.ArrayTable)
			if table, known = words, why == ""; !known {
				d.problem(at, why)
			}
		}
	}
}

// path is where the key of a table or of a value begins, and its parts.
func path(e *unstable.Node) (at int, words []string) {
	for it := e.Key(); it.Next(); {
		if n := it.Node(); words == nil {
			at = int(n.Raw.Offset)
		}
		words = append(words, string(it.Node().Data))
	}
	return at, words
}

// noTable says why there is no table of such a name; "" if there is.
func noTable(words []string, array bool) string {
	var sections []string
	for i := range options {
		if s := options[i].Section; s != "" && !slices.Contains(sections, s) {
			sections = append(sections, s)
		}
	}
	switch {
	case !slices.Contains(sections, words[0]):
		return "unknown section " + quote(words[0]) + ": want " + list(sections)
	case array:
		return words[0] + " is an array of tables: want [" + words[0] + "], once"
	case len(words) > 1:
		return notKnown(words[0], words[1])
	}
	return ""
}

// notKnown says why a section has no such key, or that it is no table.
func notKnown(section, key string) string {
	if o := byKey[section+"."+key]; o != nil {
		return key + ": found a table: want " + o.kinds.String()
	}
	var keys []string
	for i := range options {
		switch o := &options[i]; {
		case o.Section == section:
			keys = append(keys, o.Key)
		case o.Key == key && key != "":
			return key + " is not in [" + section + "]: want it in [" + o.Section + "]"
		}
	}
	return "unknown key " + quote(key) + " in [" + section + "]: want " + list(keys)
}

// entry takes KEY = VALUE of a table.
func (d *document) entry(table []string, kv *unstable.Node) {
	at, words := path(kv)
	words = slices.Concat(table, words)
	v := kv.Value()
	o := byKey[strings.Join(words[:min(2, len(words))], ".")]
	switch {
	case len(words) == 1 && v.Kind != unstable.InlineTable:
		d.problem(at, d.outside(words[0]))
	case len(words) == 1:
		if why := noTable(words, false); why != "" {
			d.problem(at, why)
			return
		}
		for it := v.Children(); it.Next(); {
			d.entry(words, it.Node())
		}
	case o == nil || len(words) > 2:
		if why := noTable(words, false); why != "" {
			d.problem(at, why)
		}
	default:
		d.value(o, kv)
	}
}

// outside is what is wrong with a key above all tables.
func (d *document) outside(key string) string {
	for i := range options {
		if o := &options[i]; o.Key == key && key != "" {
			return key + " is in no section: want it in [" + o.Section + "]"
		}
	}
	if why := noTable([]string{key}, false); why != "" {
		return why
	}
	return key + ": want a table, [" + key + "]"
}

// value takes the value of an option.
func (d *document) value(o *option, kv *unstable.Node) {
	v := kv.Value()
	outer := d.valueOffset(kv)
	switch {
	case v.Kind == unstable.Array && o.kinds&texts != 0:
		for it := v.Children(); it.Next(); {
			if s, ok := d.scalar(o, it.Node(), text, outer); ok {
				d.said(o, d.place(it.Node(), outer), s)
			}
		}
	case v.Kind == unstable.Array && o.kinds&integers != 0:
		var numbers []string
		for it := v.Children(); it.Next(); {
			s, ok := d.scalar(o, it.Node(), integer, outer)
			if !ok {
				return
			}
			numbers = append(numbers, s)
		}
		d.said(o, outer, strings.Join(numbers, ","))
	default:
		if s, ok := d.scalar(o, v, o.kinds, outer); ok {
			d.said(o, d.place(v, outer), s)
		}
	}
}

// said passes a value on that is at a place.
func (d *document) said(o *option, at int, s string) {
	if err := d.to.said(o, d.pos(at), o.Key, s); err != nil {
		d.problems = append(d.problems, err)
	}
}

// place is where a value is. Arrays do not tell: these are in one that begins at outer.
func (d *document) place(v *unstable.Node, outer int) int {
	if v.Raw.Length == 0 {
		return outer
	}
	return int(v.Raw.Offset)
}

// valueOffset is where the value of a key begins.
func (d *document) valueOffset(kv *unstable.Node) int {
	end := 0
	for it := kv.Key(); it.Next(); {
		end = int(it.Node().Raw.Offset + it.Node().Raw.Length)
	}
	rest := bytes.TrimLeft(d.doc[end:], " \t")
	return len(d.doc) - len(bytes.TrimLeft(rest[1:], " \t"))
}

// scalar is a value of an option as the command line would have it. It is a problem if it
// is not of one of the types that are wanted.
func (d *document) scalar(o *option, v *unstable.Node, want kinds, outer int) (s string, ok bool) {
	var is kinds
	switch v.Kind {
	case unstable.Bool:
		s, is = string(v.Data), boolean
	case unstable.String:
		s, is = string(v.Data), text
	case unstable.Integer:
		if n, err := strconv.ParseInt(string(v.Data), 0, 64); err == nil {
			s, is = strconv.FormatInt(n, 10), integer
		}
	}
	if is&want == 0 {
		d.problem(d.place(v, outer), o.Key+": found "+found(v)+": want "+o.kinds.String())
		return "", false
	}
	return s, true
}

// found says what a value is.
func found(v *unstable.Node) string {
	switch v.Kind {
	case unstable.String:
		return "the string " + quote(string(v.Data))
	case unstable.Bool, unstable.Integer, unstable.Float:
		return string(v.Data[:min(len(v.Data), 160)])
	case unstable.Array:
		return "an array"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or a time"
}
