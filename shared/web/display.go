package web

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// DisplayText makes a stranger's words fit to show: at most limit characters, on one line, without control and format
// characters (bidirectional overrides and zero-width ones among them, which make a name read as another one), and with
// at most two combining marks upon a letter, so that no name reaches into the lines around it.
func DisplayText(s string, limit int) string {
	var b strings.Builder
	count, marks, space := 0, 0, false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			space = count > 0
			continue
		case r == utf8.RuneError || !unicode.IsGraphic(r) || drawsNothing(r):
			continue
		case unicode.Is(unicode.M, r):
			if marks++; marks > 2 || count == 0 {
				continue
			}
			b.WriteRune(r)
			continue
		}
		if count == limit { // a letter too many
			b.WriteString("…")
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
		count++
		marks = 0
	}
	return b.String()
}

// drawsNothing reports letters and marks that are invisible.
func drawsNothing(r rune) bool {
	switch r {
	case 0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0:
		return true
	}
	return 0xFE00 <= r && r <= 0xFE0F || 0xE0100 <= r && r <= 0xE01EF // variation selectors
}

// MixesAlphabets reports whether a text holds letters of more than one of the alphabets that look alike: Latin,
// Cyrillic, Greek, Armenian and Cherokee. Other scripts stand beside Latin quite properly.
func MixesAlphabets(s string) bool {
	var seen *unicode.RangeTable
	for _, r := range s {
		for _, alphabet := range []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee} {
			if unicode.Is(alphabet, r) {
				if seen != nil && seen != alphabet {
					return true
				}
				seen = alphabet
			}
		}
	}
	return false
}

// initial is the first letter or digit, in upper case.
func initial(s string) string {
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "?"
}
