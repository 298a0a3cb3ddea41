package main

import (
	"context"
	"time"
)

type soakOptions struct {
	length, sample     time.Duration
	rate               float64
	binary, dir, write string
}

func (s *soakOptions) run(ctx context.Context) error { return nil }
