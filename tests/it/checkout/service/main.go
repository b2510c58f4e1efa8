// A service of the checkout: `checkout` and `cart` are this program, told apart by SERVICE.
//
//	service              serves /order, /health and /version on port 8080
//	service health       exits with 0 if the service in the same container is healthy
//	service load URL…    asks the URLs again and again, each time by a new connection, and counts
//
// VERSION says which release it is. Release 1 writes what an order costs into the column PRICE_COLUMN
// names; a schema without it is one that it cannot even start on.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	_ "github.com/lib/pq"
)

func main() {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "health":
		health()
	case len(os.Args) > 2 && os.Args[1] == "load":
		load(os.Args[2:])
	default:
		serve()
	}
}

func health() {
	answer, err := http.Get("http://127.0.0.1:8080/health")
	if err != nil || answer.StatusCode != 200 {
		os.Exit(1)
	}
}

func load(urls []string) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	client := http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	good, bad := 0, 0
	for {
		for _, url := range urls {
			if err := ask(&client, url); err != nil {
				bad++
				fmt.Println("FAIL", time.Now().UTC().Format(time.RFC3339Nano), err)
			} else {
				good++
			}
		}
		select {
		case <-stop:
			fmt.Printf("good %d bad %d\n", good, bad)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func ask(client *http.Client, url string) error {
	answer, err := client.Post(url, "text/plain", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	if answer.StatusCode != 200 {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}

func serve() {
	database, err := sql.Open("postgres", os.Getenv("DATABASE"))
	must(err)
	insert, err := database.Prepare(fmt.Sprintf(
		"INSERT INTO orders (service, release, %s) VALUES ($1, $2, 100)", os.Getenv("PRICE_COLUMN")))
	must(err)
	service, release := os.Getenv("SERVICE"), os.Getenv("VERSION")
	http.HandleFunc("/order", func(w http.ResponseWriter, r *http.Request) {
		if _, err := insert.Exec(service, release); err != nil {
			http.Error(w, err.Error(), 500)
		}
	})
	http.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		if err := database.Ping(); err != nil {
			http.Error(w, err.Error(), 500)
		}
	})
	http.HandleFunc("/version", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, release)
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
		must(err)
	}
	select {}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}
