using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>
    /// Connects over TCP, with TLS for wss, and does the opening handshake itself: so a client
    /// learns why it was refused, and how long to wait, which ClientWebSocket does not say in Mono
    /// and Unity. It goes through no HTTP proxy; ClientWebSocketConnector does where the runtime does.
    /// </summary>
    public sealed class SocketConnector : Connector
    {
        static readonly TimeSpan perAddress = TimeSpan.FromSeconds(3); // before the next one is tried

        public override async Task<Connection> Connect(ConnectRequest request, CancellationToken cancel)
        {
            var url = request.Url;
            var tcp = await Dial(url.DnsSafeHost, Port(url), cancel).ConfigureAwait(false);
            using (cancel.Register(tcp.Close))
            {
                try
                {
                    tcp.NoDelay = true;
                    Stream stream = tcp.GetStream();
                    if (url.Scheme == "wss") stream = await Secure(stream, request).ConfigureAwait(false);
                    var early = await Handshake.Shake(stream, request).ConfigureAwait(false);
                    cancel.ThrowIfCancellationRequested();
                    return new FrameConnection(stream, tcp.Close, early, request.MessageLimit, request.Clock);
                }
                catch (Exception)
                {
                    tcp.Close();
                    cancel.ThrowIfCancellationRequested(); // rather than the failure that comes of it
                    throw;
                }
            }
        }

        static int Port(Uri url)
        {
            return url.Port > 0 ? url.Port : url.Scheme == "wss" ? 443 : 80;
        }

        static async Task<Stream> Secure(Stream stream, ConnectRequest request)
        {
            var tls = request.CertificateCheck == null ? new SslStream(stream, false) : new SslStream(stream, false, request.CertificateCheck);
            await tls.AuthenticateAsClientAsync(request.Url.DnsSafeHost).ConfigureAwait(false);
            return tls;
        }

        /// <summary>Tries the addresses of a host in turn.</summary>
        static async Task<TcpClient> Dial(string host, int port, CancellationToken cancel)
        {
            var addresses = await Resolve(host).ConfigureAwait(false);
            cancel.ThrowIfCancellationRequested();
            Exception last = new SocketException((int)SocketError.HostNotFound);
            for (int i = 0; i < addresses.Count; i++)
            {
                bool only = i == addresses.Count - 1;
                try { return await DialOne(addresses[i], port, only ? Timeout.InfiniteTimeSpan : perAddress, cancel).ConfigureAwait(false); }
                catch (Exception e) { last = e; }
                cancel.ThrowIfCancellationRequested();
            }
            throw new EndedException(Ending.Of(EndKind.Lost, last.Message, last));
        }

        static async Task<IList<IPAddress>> Resolve(string host)
        {
            IPAddress literal;
            if (IPAddress.TryParse(host, out literal)) return new[] { literal };
            return await Dns.GetHostAddressesAsync(host).ConfigureAwait(false);
        }

        static async Task<TcpClient> DialOne(IPAddress address, int port, TimeSpan limit, CancellationToken cancel)
        {
            var tcp = new TcpClient(address.AddressFamily);
            using (var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel))
            {
                try
                {
                    var connected = tcp.ConnectAsync(address, port);
                    var first = await Task.WhenAny(connected, Task.Delay(limit, stop.Token)).ConfigureAwait(false);
                    stop.Cancel(); // ends the delay
                    if (first != connected)
                    {
                        Link.Forget(connected);
                        throw new TimeoutException("no connection to " + address + " in time");
                    }
                    await connected.ConfigureAwait(false);
                    return tcp;
                }
                catch (Exception)
                {
                    tcp.Close();
                    throw;
                }
            }
        }
    }
}
