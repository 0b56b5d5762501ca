//! actix-http keeps the headers of every request in a table with room for 28 names, some 7 KB, for as long as it takes to
//! answer. Ten thousand requests that wait at once need no more than what they have. Runs on the HTTP workers.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::HeaderMap;

/// Gives back the room that the headers of a request do not need. What is in them stays.
pub fn shrink_headers(request: &mut ServiceRequest) {
    let headers = request.headers_mut();
    let few = HeaderMap::with_capacity(headers.len_keys());
    for (name, value) in std::mem::replace(headers, few) {
        headers.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn all_headers_stay_in_a_smaller_table() {
        let given = [("host", "a"), ("accept", "b"), ("accept", "c"), ("authorization", "Bearer d")];
        let request = given.iter().fold(TestRequest::default(), |request, header| request.append_header(*header));
        let mut request = request.to_srv_request();
        request.headers_mut().reserve(100);
        shrink_headers(&mut request);
        assert!(request.headers().capacity() < 10, "{}", request.headers().capacity());
        let accepts: Vec<_> = request.headers().get_all("accept").collect();
        assert_eq!(accepts, ["b", "c"]);
        assert_eq!(request.headers().len(), 4);
        assert_eq!(request.headers().get("authorization").unwrap(), "Bearer d");
    }
}
