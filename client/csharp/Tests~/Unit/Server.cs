using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Threading;

namespace Homing.Tests
{
    /// <summary>A server's end of connections, by hand: it shakes hands, sends texts, reads texts.</summary>
    sealed class Server : IDisposable
    {
        readonly TcpListener listener = new TcpListener(IPAddress.Loopback, 0);
        readonly Queue<Peer> accepted = new Queue<Peer>();
        readonly List<Peer> all = new List<Peer>();

        internal Server()
        {
            listener.Start();
            new Thread(Accept) { IsBackground = true }.Start();
        }

        internal string Url { get { return "ws://127.0.0.1:" + ((IPEndPoint)listener.LocalEndpoint).Port + "/ws"; } }

        void Accept()
        {
            try
            {
                for (;;)
                {
                    var peer = new Peer(listener.AcceptTcpClient());
                    lock (accepted)
                    {
                        all.Add(peer);
                        accepted.Enqueue(peer);
                    }
                }
            }
            catch (SocketException) { } // it is closed
            catch (ObjectDisposedException) { }
        }

        /// <summary>The next connection, or null.</summary>
        internal Peer Next()
        {
            lock (accepted) return accepted.Count > 0 ? accepted.Dequeue() : null;
        }

        public void Dispose()
        {
            listener.Stop();
            lock (accepted)
                foreach (var peer in all) peer.Close();
        }
    }

    sealed class Peer
    {
        readonly TcpClient tcp;
        readonly Stream stream;
        readonly Queue<string> read = new Queue<string>();
        internal volatile string Head; // of the request, once it has come
        internal volatile bool Ended;

        internal Peer(TcpClient tcp)
        {
            this.tcp = tcp;
            stream = tcp.GetStream();
            new Thread(Read) { IsBackground = true }.Start();
        }

        void Read()
        {
            try
            {
                var head = new StringBuilder();
                while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal)) head.Append((char)Byte());
                Head = head.ToString();
                for (;;)
                {
                    int op = Byte() & 15, size = Byte() & 127;
                    if (size == 126) size = Byte() << 8 | Byte();
                    var mask = new[] { Byte(), Byte(), Byte(), Byte() };
                    var text = new byte[size];
                    for (int i = 0; i < size; i++) text[i] = (byte)(Byte() ^ mask[i & 3]);
                    lock (read) read.Enqueue(op == 1 ? Encoding.UTF8.GetString(text) : "frame " + op);
                }
            }
            catch (Exception) { Ended = true; }
        }

        int Byte()
        {
            int b = stream.ReadByte();
            if (b < 0) throw new EndOfStreamException();
            return b;
        }

        internal void Answer(string text)
        {
            var b = Encoding.ASCII.GetBytes(text);
            stream.Write(b, 0, b.Length);
        }

        internal void Accept(string protocol = "homing.v1")
        {
            string key = "";
            foreach (string line in Head.Split('\n'))
                if (line.StartsWith("Sec-WebSocket-Key:", StringComparison.Ordinal)) key = line.Substring(18).Trim();
            string accept;
            using (var sha = SHA1.Create()) accept = Convert.ToBase64String(sha.ComputeHash(Encoding.ASCII.GetBytes(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
            Answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + "\r\nSec-WebSocket-Protocol: " + protocol + "\r\n\r\n");
        }

        internal void Send(string text)
        {
            var payload = Encoding.UTF8.GetBytes(text);
            var head = payload.Length < 126 ? new[] { (byte)0x81, (byte)payload.Length } : new[] { (byte)0x81, (byte)126, (byte)(payload.Length >> 8), (byte)payload.Length };
            lock (stream)
            {
                stream.Write(head, 0, head.Length);
                stream.Write(payload, 0, payload.Length);
            }
        }

        internal string Next()
        {
            lock (read) return read.Count > 0 ? read.Dequeue() : null;
        }

        internal void Close() { tcp.Close(); }
    }
}
