// The service of the tests: one static binary, for images from scratch.
//
//	app              serves /health and /version on port 8080, as VERSION says
//	app health       exits with 0 if the service in the same container is healthy
//	app load URL     asks URL again and again, each time by a new connection, and counts
//
// UNHEALTHY makes /health fail, CRASH ends it at once, WARM_MS delays the first answer.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "health" {
		health()
	} else if len(os.Args) > 2 && os.Args[1] == "load" {
		load(os.Args[2])
	} else {
		serve()
	}
}

func health() {
	answer, err := http.Get("http://127.0.0.1:8080/health")
	if err != nil || answer.StatusCode != 200 {
		os.Exit(1)
	}
}

func load(url string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	client := http.Client{
		Timeout: 20 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			// The name service gives an address for some milliseconds after it is gone. Of two
			// addresses each gets half of this time.
			DialContext: (&net.Dialer{Timeout: 4 * time.Second}).DialContext,
		},
	}
	good, bad, slow := 0, 0, 0
	for {
		select {
		case <-stop:
			fmt.Printf("good %d bad %d slow %d\n", good, bad, slow)
			return
		case <-time.After(2 * time.Millisecond):
		}
		begun := time.Now()
		answer, err := client.Get(url)
		if time.Since(begun) > time.Second {
			slow++
			fmt.Println("SLOW", begun.Format(time.RFC3339Nano), time.Since(begun))
		}
		if err != nil {
			bad++
			fmt.Println("FAIL", err)
			continue
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode == 200 {
			good++
		} else {
			bad++
			fmt.Println("FAIL", answer.Status)
		}
	}
}

func serve() {
	if os.Getenv("CRASH") != "" {
		os.Exit(3)
	}
	warm, _ := strconv.Atoi(os.Getenv("WARM_MS"))
	time.Sleep(time.Duration(warm) * time.Millisecond)
	http.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		if os.Getenv("UNHEALTHY") != "" {
			w.WriteHeader(500)
		}
	})
	http.HandleFunc("/version", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, os.Getenv("VERSION"))
	})
	server := http.Server{Addr: ":8080"}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		server.Shutdown(context.Background())
		os.Exit(0)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		os.Exit(4)
	}
	select {}
}
