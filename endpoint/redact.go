package endpoint

import (
	"slices"
	"strings"
)

// RedactCommand returns the arguments of a command line without what is secret in them: the whole value of every flag
// that secretFlags names (without dashes), as --flag value and as --flag=value, with one dash or two, and name,
// password and query of URLs in any argument.
func RedactCommand(args, secretFlags []string) []string {
	safe := make([]string, len(args))
	isValue := false // of the secret flag before it
	for i, arg := range args {
		flag, _, joined := strings.Cut(arg, "=")
		name, isFlag := strings.CutPrefix(flag, "-")
		switch isSecret := isFlag && slices.Contains(secretFlags, strings.TrimPrefix(name, "-")); {
		case isValue:
			safe[i], isValue = redacted, false
		case isSecret && joined:
			safe[i] = flag + "=" + redacted
		default:
			safe[i], isValue = RedactUserinfo(arg), isSecret
		}
	}
	return safe
}

// RedactUserinfo takes name, password and query out of the URL in a text. All from the first :// to the last @ goes,
// since a password may itself hold what ends one elsewhere; a query may hold a token.
func RedactUserinfo(text string) string {
	before, after, found := strings.Cut(text, "://")
	if !found {
		return text
	}
	if at := strings.LastIndexByte(after, '@'); at >= 0 {
		after = redacted + after[at:]
	}
	if path, query, found := strings.Cut(after, "?"); found && query != "" {
		after = path + "?" + redacted
	}
	return before + "://" + after
}
