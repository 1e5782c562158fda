package spec

import "strings"

// ParseFlag reads one value of --share, in the short form or the long form: see
// the package's text. Errors are [*Error].
func ParseFlag(s string) (Mount, error) {
	m := Mount{Pos: Pos{Name: "share " + quote(s)}}
	p := flagParser{newReader(mountForm, &m), m.Pos}
	read := p.short
	if isLong(s) {
		read = p.long
	}
	why := read(s)
	if why == "" {
		_, why = finish(&p.reader, p.pos)
	}
	if why != "" {
		return Mount{}, &Error{m.Pos, why}
	}
	return m, nil
}

// isLong tells the long form: s begins with a word of lower-case letters, digits
// and dashes, and =. Whether the word is known does not matter: so a mistake in it
// is found, and new options do not change what a value means.
func isLong(s string) bool {
	i := strings.IndexFunc(s, func(c rune) bool { return c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') })
	return i > 0 && s[i] == '=' && s[0] >= 'a' && s[0] <= 'z'
}

type flagParser struct {
	reader[Mount]
	pos Pos
}

// long reads ITEM[,ITEM…].
func (p *flagParser) long(s string) (why string) {
	for more := true; more; {
		var item string
		if item, _, s, more, why = cut(s, ","); why != "" {
			return why
		}
		if why = p.item(item, true); why != "" {
			return why
		}
	}
	return ""
}

const shortForm = "HOST[:GUEST[:OPTION,…]]"

// short reads HOST[:GUEST[:OPTION[,OPTION…]]].
func (p *flagParser) short(s string) (why string) {
	const sourceWord, targetWord = "source", "target"
	host, sep, rest, more, why := cut(s, ":,")
	switch {
	case why != "":
		return why
	case host == "" && sep != ',':
		return "the host's path is empty: want " + shortForm + "; scratch space, which has none, is type=scratch,target=GUEST"
	case sep == ',':
		return "a comma in the host's path: write \\, if the path has one, " + shortForm + " for options, or begin with KEY=VALUE for the long form"
	}
	if why := p.say(sourceWord, mountForm.words[sourceWord], p.pos, host); why != "" || !more {
		return why
	}
	guest, sep, rest, more, why := cut(rest, ":,")
	switch {
	case why != "":
		return why
	case guest == "" && sep != ',':
		return "the guest's path is empty: want " + shortForm + ", with / for the root"
	case sep == ',':
		return "a comma in the guest's path: write \\, if the path has one, or " + shortForm + " for options"
	}
	if _, why := mountForm.find(firstWord(guest)); why == "" && !more {
		return "the guest's path is " + quote(guest) + ", which is an option: want HOST:GUEST:" + guest
	}
	if why := p.say(targetWord, mountForm.words[targetWord], p.pos, guest); why != "" || !more {
		return why
	}
	for more := true; more; {
		var item string
		if item, _, rest, more, why = cut(rest, ","); why != "" {
			return why
		}
		if why = p.item(item, false); why != "" {
			return why
		}
	}
	return ""
}

func firstWord(item string) string {
	word, _, _ := strings.Cut(item, "=")
	return word
}

// item reads WORD or WORD=VALUE.
func (p *flagParser) item(item string, long bool) (why string) {
	word, value, given := strings.Cut(item, "=")
	if word == "" && !given {
		return "an option is empty: there is a comma too many, or none is given after it"
	}
	m, why := mountForm.find(word)
	switch {
	case why != "" && long && len(p.at) == 0:
		if why[len(why)-1] != '?' {
			why += "."
		}
		return why + " A path of the host that begins like that is written ./" + word + "=…"
	case why != "":
		return why
	case !given && m.option.kind == flagKind:
		value = "true"
	case !given:
		return word + ": its value is missing: want " + word + "=" + m.option.arg + ", " + m.option.want
	}
	return p.say(word, m, p.pos, value)
}

// special are the characters that \ takes the meaning from.
const special = `:,\`

// cut reads s up to the first of the characters seps that no \ stands before.
// more says that there was one, sep, and that rest follows it.
func cut(s, seps string) (field string, sep byte, rest string, more bool, why string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if strings.IndexByte(seps, c) >= 0 {
			return b.String(), c, s[i+1:], true, ""
		}
		if c == '\\' {
			i++
			if i == len(s) || strings.IndexByte(special, s[i]) < 0 {
				return "", 0, "", false, `a \ before ` + after(s[i:]) + `: it takes the meaning from :, from , and from another \; write \\ for one that is meant`
			}
			c = s[i]
		}
		b.WriteByte(c)
	}
	return b.String(), 0, "", false, ""
}

func after(s string) string {
	if s == "" {
		return "the end"
	}
	for i := range s {
		if i > 0 {
			return quote(s[:i])
		}
	}
	return quote(s)
}

// escape writes a value so that [cut] at a comma reads it back.
func escape(b *strings.Builder, s string) {
	for i := range len(s) {
		if s[i] == ',' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
}
