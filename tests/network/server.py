# Answers with a name at TCP ports, and at the UDP ports among them, over IPv4 and IPv6: server.py NAME PORT[/udp]...
# Ends at the end of its standard input when the first word is --until-eof.
import socket, sys, threading

words = sys.argv[1:]
until_eof = words[0] == "--until-eof"
name, ports = words[until_eof], words[until_eof + 1:]


def tcp(server):
    while True:
        connection, _ = server.accept()
        try:
            connection.sendall(name.encode())
        except OSError:
            pass
        connection.close()


def udp(server):
    while True:
        _, sender = server.recvfrom(64)
        server.sendto(name.encode(), sender)


for port in ports:
    if port.endswith("/udp"):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("", int(port[:-4])))
        serve = udp
    else:
        server = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
        serve = tcp
    threading.Thread(target=serve, args=[server], daemon=True).start()
print("ready", flush=True)
if until_eof:
    sys.stdin.read()
else:
    threading.Event().wait()
