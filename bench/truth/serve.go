package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/openloop/openloop/llmsim"
)

// serve is the server's process. It ends with its standard input.
func serve(spec, truthFile string) error {
	config, err := llmsim.ParseSpec(spec)
	if err != nil {
		return err
	}
	config.TruthLimit = -1
	server, err := llmsim.NewServer(config)
	if err != nil {
		return err
	}
	f, err := os.Create(truthFile)
	if err != nil {
		return err
	}
	defer f.Close()
	server.WriteTruth(f)
	if err := server.Start("127.0.0.1:0"); err != nil {
		return err
	}
	fmt.Println(server.URL())
	signal.Ignore(os.Interrupt)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Close()
}
