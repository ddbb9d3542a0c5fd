//! A host's network interface: a TUN device named `eth0`, its addresses and its default route.
//!
//! Every function concerns the network namespace of the calling thread. The device goes when the
//! file that [`open`] returns is closed, and with the process that has it.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::fabric::Addresses;

/// The device through which packets come and go.
pub const DEVICE: &str = "/dev/net/tun";
/// Its name in every host.
pub const NAME: &str = "eth0";
/// As on Ethernet. The kernel cuts what is longer before it sends.
const MTU: libc::c_int = 1500;
/// Packets that the kernel keeps until the emulator takes them: far more than come meanwhile.
const KERNEL_QUEUE_LEN: libc::c_int = 10_000;
/// A site is a /24, its IPv6 a /64.
const V4_MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const V6_PREFIX_LEN: u32 = 64;

/// The kernel's `struct rtentry`, up to where this file writes it.
#[repr(C)]
struct RouteV4 {
    pad1: libc::c_ulong,
    destination: libc::sockaddr,
    gateway: libc::sockaddr,
    mask: libc::sockaddr,
    flags: libc::c_ushort,
    pad2: libc::c_short,
    pad3: libc::c_ulong,
    pad4: *const libc::c_void,
    metric: libc::c_short,
    device: *const libc::c_char,
    mtu: libc::c_ulong,
    window: libc::c_ulong,
    irtt: libc::c_ushort,
}

/// The kernel's `struct in6_rtmsg`.
#[repr(C)]
struct RouteV6 {
    destination: libc::in6_addr,
    source: libc::in6_addr,
    gateway: libc::in6_addr,
    kind: u32,
    destination_len: u16,
    source_len: u16,
    metric: u32,
    info: libc::c_ulong,
    flags: u32,
    index: libc::c_int,
}

/// Makes the device. Reads give one packet each, or `WouldBlock`.
///
/// # Errors
/// The system's, when there is no such device or the caller may not.
pub fn open() -> io::Result<File> {
    let device =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE)?;
    let mut request = request(NAME);
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    control(&device, libc::TUNSETIFF, &mut request)?;
    Ok(device)
}

/// Brings the loopback interface up.
///
/// # Errors
/// The system's.
pub fn bring_up_loopback() -> io::Result<()> {
    let socket = socket(libc::AF_INET)?;
    bring_up(&socket, "lo")
}

/// Gives the device its addresses, in place of what it had, and sends everything through it.
///
/// # Errors
/// The system's.
pub fn configure(addresses: &Addresses) -> io::Result<()> {
    let v4 = socket(libc::AF_INET)?;
    let mut request = request(NAME);
    request.ifr_ifru.ifru_mtu = MTU;
    control(&v4, libc::SIOCSIFMTU, &mut request)?;
    request.ifr_ifru.ifru_metric = KERNEL_QUEUE_LEN;
    control(&v4, libc::SIOCSIFTXQLEN, &mut request)?;
    request.ifr_ifru.ifru_addr = address(addresses.v4);
    control(&v4, libc::SIOCSIFADDR, &mut request)?;
    request.ifr_ifru.ifru_netmask = address(V4_MASK);
    control(&v4, libc::SIOCSIFNETMASK, &mut request)?;
    bring_up(&v4, NAME)?;
    let name = request.ifr_name;
    route_v4(&v4, &name)?;
    control(&v4, libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: the call above has written the index.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    match addresses.v6 {
        Some(address) => configure_v6(index, address),
        None => Ok(()),
    }
}

/// Takes a global IPv6 address away again.
///
/// # Errors
/// The system's, but that it had none is no error.
pub fn remove_v6(address: Ipv6Addr) -> io::Result<()> {
    let v6 = socket(libc::AF_INET6)?;
    let mut request = request(NAME);
    control(&v6, libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: the call above has written the index.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    match control(&v6, libc::SIOCDIFADDR, &mut address_v6(index, address)) {
        Err(error) if error.raw_os_error() != Some(libc::EADDRNOTAVAIL) => Err(error),
        _ => Ok(()),
    }
}

fn configure_v6(index: libc::c_int, address: Ipv6Addr) -> io::Result<()> {
    let v6 = socket(libc::AF_INET6)?;
    exists(control(&v6, libc::SIOCSIFADDR, &mut address_v6(index, address)))?;
    let none = libc::in6_addr { s6_addr: [0; 16] };
    let mut route = RouteV6 {
        destination: none,
        source: none,
        gateway: none,
        kind: 0,
        destination_len: 0,
        source_len: 0,
        metric: 1,
        info: 0,
        flags: libc::RTF_UP.into(),
        index,
    };
    exists(control(&v6, libc::SIOCADDRT, &mut route))
}

fn route_v4(socket: &OwnedFd, name: &[libc::c_char]) -> io::Result<()> {
    let mut route = RouteV4 {
        pad1: 0,
        destination: address(Ipv4Addr::UNSPECIFIED),
        gateway: address(Ipv4Addr::UNSPECIFIED),
        mask: address(Ipv4Addr::UNSPECIFIED),
        flags: libc::RTF_UP,
        pad2: 0,
        pad3: 0,
        pad4: std::ptr::null(),
        metric: 0,
        device: name.as_ptr(),
        mtu: 0,
        window: 0,
        irtt: 0,
    };
    exists(control(socket, libc::SIOCADDRT, &mut route))
}

fn bring_up(socket: &OwnedFd, name: &str) -> io::Result<()> {
    let mut request = request(name);
    control(socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the call above has written the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    control(socket, libc::SIOCSIFFLAGS, &mut request)
}

/// That it is so already is no error.
fn exists(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
        _ => Ok(()),
    }
}

fn socket(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers and returns a new descriptor.
    let fd = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn request(name: &str) -> libc::ifreq {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_slave: [0; libc::IFNAMSIZ] },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().skip(2).zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

fn address_v6(index: libc::c_int, address: Ipv6Addr) -> libc::in6_ifreq {
    libc::in6_ifreq {
        ifr6_addr: libc::in6_addr { s6_addr: address.octets() },
        ifr6_prefixlen: V6_PREFIX_LEN,
        ifr6_ifindex: index,
    }
}

/// Makes a control call with what `value` is. Each caller pairs the call with its structure.
fn control<T>(fd: &impl AsRawFd, call: libc::c_ulong, value: &mut T) -> io::Result<()> {
    // SAFETY: the value lives through the call, and is the structure that the call reads or writes.
    let done =
        unsafe { libc::ioctl(fd.as_raw_fd(), call as libc::Ioctl, std::ptr::from_mut(value)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
