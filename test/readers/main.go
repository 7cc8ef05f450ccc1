// readers: read goroutine?debug=2 with the readers that Go's users have, and say what each found.
//
// Usage: readers FILE. Prints for each reader: its name, goroutines, frames, creators, errors. Exit status 1 if one
// stopped early.
//
// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/DataDog/gostackparse"
	"github.com/maruel/panicparse/v2/stack"
)

type found struct{ goroutines, frames, creators int }

func readByGostackparse(dump []byte) (found, []error) {
	var f found
	goroutines, errs := gostackparse.Parse(bytes.NewReader(dump))
	for _, g := range goroutines {
		f.goroutines++
		f.frames += len(g.Stack)
		if g.CreatedBy != nil {
			f.creators++
		}
	}
	return f, errs
}

// A snapshot ends at a line that is not a goroutine's; the next one begins after it.
func readByPanicparse(dump []byte) (found, []error) {
	var f found
	var rest io.Reader = bytes.NewReader(dump)
	for {
		s, suffix, err := stack.ScanSnapshot(rest, io.Discard, stack.DefaultOpts())
		if s != nil {
			for _, g := range s.Goroutines {
				f.goroutines++
				f.frames += len(g.Stack.Calls)
				f.creators += len(g.CreatedBy.Calls)
			}
		}
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return f, []error{err}
		}
		rest = io.MultiReader(bytes.NewReader(suffix), rest)
	}
}

func main() {
	dump, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	status := 0
	for _, r := range []struct {
		name string
		read func([]byte) (found, []error)
	}{{"gostackparse", readByGostackparse}, {"panicparse", readByPanicparse}} {
		f, errs := r.read(dump)
		fmt.Println(r.name, f.goroutines, f.frames, f.creators, len(errs))
		for _, e := range errs {
			fmt.Fprintln(os.Stderr, r.name+":", e)
			status = 1
		}
	}
	os.Exit(status)
}
