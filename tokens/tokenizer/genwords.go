//go:build ignore

// genwords writes words.txt: the vocabulary that texts are made of.
//
//	go run genwords.go DICTIONARY > words.txt
//
// DICTIONARY holds English words, one a line (the list in the tree was made from the words that the word lists GCIDE
// and Webster's Second have in common). Of these it keeps the lower-case words of 4 to 9 letters that are one token
// with a space before them in o200k, cl100k and r50k, and one token without it in the first two, most frequent first.
// These three encodings were trained on unlike text, so such a word is one token for most other tokenizers too.
package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	loader "github.com/pkoukk/tiktoken-go-loader"
)

const keep = 2048

// Words that a guard model in front of an endpoint might stop, and a few that no reader wants to meet.
const unwanted = " attack kill anal anus drug dead blood sexual terror weapon bomb hell rape cock gang execution " +
	"knife bullet slave dirty escort christ black white death murder bitch hate cant dent mont dere bere " +
	"unde ding cran prod plat sans "

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "genwords:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: go run genwords.go DICTIONARY")
	}
	f, err := os.Open(os.Args[1])
	if err != nil {
		return err
	}
	defer f.Close()

	var ranks []map[string]int
	for _, name := range []string{"o200k_base", "cl100k_base", "r50k_base"} {
		r, err := loader.NewOfflineLoader().LoadTiktokenBpe(name + ".tiktoken")
		if err != nil {
			return err
		}
		ranks = append(ranks, r)
	}
	one := func(encoding int, text string) bool { _, ok := ranks[encoding][text]; return ok }

	word := regexp.MustCompile(`^[a-z]{4,9}$`)
	var words []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := lines.Text()
		if !word.MatchString(w) || strings.Contains(unwanted, " "+w+" ") {
			continue
		}
		if one(0, w) && one(1, w) && one(0, " "+w) && one(1, " "+w) && one(2, " "+w) {
			words = append(words, w)
		}
	}
	slices.SortFunc(words, func(a, b string) int { return ranks[2][" "+a] - ranks[2][" "+b] })
	if len(words) < keep {
		return fmt.Errorf("%s has %d usable words, %d are needed", os.Args[1], len(words), keep)
	}
	for _, w := range words[:keep] {
		fmt.Println(w)
	}
	return nil
}
