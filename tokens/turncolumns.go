package tokens

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// askedTurn is a turn of a conversation that has no answers.
type askedTurn struct {
	of    Item // its texts, lengths and fields
	think time.Duration
}

// askedItem sends turns without answers as a session, or the first of them alone. What the model answers stands between
// them.
func (f *fileSource) askedItem(it Item, turns []askedTurn) (Item, error) {
	if len(turns) == 0 || len(turns) > mostTurns {
		return Item{}, fmt.Errorf("its conversation has %d turns; want 1 to %d", len(turns), mostTurns)
	}
	random := ofSession(f.cfg.seed, f.talks)
	f.talks++
	first := turns[0].of
	f.measure(&first, "")
	it.PrefixText, it.PrefixTokens = first.PrefixText, first.PrefixTokens
	it.PromptText, it.PromptTokens, it.OutputTokens = first.PromptText, first.PromptTokens, first.OutputTokens
	if f.cfg.sessions == nil {
		if len(turns) > 1 && f.found != nil {
			f.found.further++
		}
		return it, nil
	}
	it.whole = true
	for _, t := range turns[1:] {
		f.measure(&t.of, "")
		if given := f.cfg.sessions.Think; given != (ThinkTime{}) {
			t.think = given.sample(random)
		}
		next := Turn{Think: t.think, PromptText: t.of.PromptText, PromptTokens: t.of.PromptTokens,
			OutputTokens: t.of.OutputTokens}
		if t.of.PrefixText != "" {
			next.Messages = appendUser(append(appendSystem(nil, t.of.PrefixText), ','), t.of.PromptText, nil)
			if next.PromptTokens > 0 {
				next.PromptTokens += t.of.PrefixTokens
			}
		}
		it.Turns = append(it.Turns, next)
	}
	return it, nil
}

// turnName is a column's name with the number of a turn, as GuideLLM 0.6 and later write it: prompt_0, prompt-1.
var turnName = regexp.MustCompile(`^(.+)[-_](\d{1,6})$`)

// endsInDigit is a look that spares most names the pattern: there may be hundreds of millions of records.
func endsInDigit(name string) bool {
	return name != "" && '0' <= name[len(name)-1] && name[len(name)-1] <= '9'
}

// turnBases are the names that the columns of a kind may have before the number, as they are looked for; those of a
// mapping are its own.
func (f *fileSource) turnBases(kind string) []string {
	if f.cfg.columns != nil {
		var names []string
		for _, name := range f.cfg.columns[kind] {
			names = append(names, strings.TrimPrefix(name, "0."))
		}
		return names
	}
	if kind == "output_tokens_count_column" {
		return slices.Concat(defaultColumns[kind], outputColumns)
	}
	return defaultColumns[kind]
}

// isTurnBase says whether a column's name, without a number, is a known one: in any case, with s or es behind.
func isTurnBase(name, known string) bool {
	name = strings.ToLower(name)
	rest, ok := strings.CutPrefix(name, strings.ToLower(known))
	return ok && (rest == "" || rest == "s" || rest == "es")
}

// turnColumns finds the columns of a kind by their turns: those of the first known name that has any. The column
// without a number is that of turn 0.
func (f *fileSource) turnColumns(r record, kind string) (byTurn map[int]string, numbered bool, err error) {
	names := slices.Sorted(maps.Keys(r))
	for _, known := range f.turnBases(kind) {
		byTurn = map[int]string{}
		for _, name := range names {
			turn := 0
			base := name
			if m := turnName.FindStringSubmatch(name); m != nil && isTurnBase(m[1], known) {
				base, numbered = m[1], true
				turn, _ = strconv.Atoi(m[2]) // six digits
			}
			if !isTurnBase(base, known) {
				continue
			}
			if other, twice := byTurn[turn]; twice {
				return nil, false, fmt.Errorf("its columns %q and %q are both of turn %d", other, name, turn)
			}
			byTurn[turn] = name
		}
		if len(byTurn) > 0 {
			return byTurn, numbered, nil
		}
	}
	return nil, false, nil
}

// plainText is the column without a number that is the prompt, where a record has one.
func (f *fileSource) plainText(r record) (string, bool) {
	if f.cfg.columns == nil {
		return f.knownColumn(r, "text_column")
	}
	for _, name := range f.turnBases("text_column") {
		if _, ok := r[name]; ok {
			return name, true
		}
	}
	return "", false
}

// turnsOf are the turns of a record that has them in columns with numbers; none: it has no such columns. Turns without
// a text, as the rows of a table have them behind their last one, are left out.
func (f *fileSource) turnsOf(r record) ([]askedTurn, error) {
	if f.cfg.guideLLM && f.cfg.sessions == nil { // GuideLLM 0.5.0 knows no turns
		return nil, nil
	}
	hasTurns := false
	for name := range r {
		hasTurns = hasTurns || endsInDigit(name) && turnName.MatchString(name)
	}
	if !hasTurns {
		return nil, nil
	}
	texts, numbered, err := f.turnColumns(r, "text_column")
	if err != nil || !numbered {
		return nil, err
	}
	if plain, ok := f.plainText(r); ok && (f.cfg.columns != nil || texts[0] != plain) {
		return nil, nil // the numbers mean something else
	}
	kinds := map[string]map[int]string{}
	for _, kind := range []string{"prefix_column", "prompt_tokens_count_column", "output_tokens_count_column"} {
		if kinds[kind], _, err = f.turnColumns(r, kind); err != nil {
			return nil, err
		}
	}
	var turns []askedTurn
	for _, i := range slices.Sorted(maps.Keys(texts)) {
		f.use(texts[i])
		var of Item
		if of.PromptText, err = text(r[texts[i]]); err != nil {
			return nil, fmt.Errorf("%s: %w", texts[i], err)
		}
		if name, ok := kinds["prefix_column"][i]; ok {
			f.use(name)
			if of.PrefixText, err = text(r[name]); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		for kind, number := range map[string]*int{"prompt_tokens_count_column": &of.PromptTokens,
			"output_tokens_count_column": &of.OutputTokens} {
			name, ok := kinds[kind][i]
			if !ok {
				continue
			}
			f.use(name)
			if empty(r[name]) {
				continue
			}
			if *number, err = wholeNumber(r[name]); err != nil || *number < 0 {
				return nil, fmt.Errorf("%s: %s; want a whole number of tokens", name, show(r[name]))
			}
		}
		if of.PromptText != "" {
			turns = append(turns, askedTurn{of: of})
		}
	}
	if len(turns) == 0 {
		return nil, fmt.Errorf("%w: all of its columns %s are empty", ErrNoPrompt,
			named(slices.Sorted(maps.Values(texts))))
	}
	return turns, nil
}
