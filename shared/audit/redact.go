package audit

import "strings"

// secretLength is the least that follows the kind in a secret of ours: 43 characters of base62 in a client secret, more in
// codes and tokens, some of which a stranger may have cut off.
const secretLength = 36

// redact takes out what has the form of a code, a token or a client secret. Nobody hands one to this package knowingly; but a
// stranger may have put one where a name belongs, such as into client_id, and names are logged.
func redact(s string) string {
	var clean strings.Builder
	kept := 0
	for i := 0; i+3+secretLength <= len(s); i++ {
		if s[i+2] != '_' {
			continue
		}
		switch s[i : i+2] {
		case "ac", "at", "rt", "cs":
		default:
			continue
		}
		end := i + 3
		for end < len(s) && secretCharacter(s[end]) {
			end++
		}
		if end-i-3 < secretLength {
			continue
		}
		clean.WriteString(s[kept:i])
		clean.WriteString("[a secret]")
		kept, i = end, end-1
	}
	if kept == 0 {
		return s
	}
	clean.WriteString(s[kept:])
	return clean.String()
}

func secretCharacter(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
}
